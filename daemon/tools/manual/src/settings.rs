//! picket.toml(5): each setting with what the sample configuration says of it, its flag and its
//! variable.

use anyhow::Result;
use clap_mangen::roff::{Roff, bold, italic, roman};
use picket::config::SETTINGS;

use crate::samples::{explained, line};
use crate::{Edition, File};

pub fn page(edition: &Edition) -> Result<File> {
    let mut page = Roff::new();
    edition.title(&mut page, "picket.toml", "5");
    page.control("SH", ["NAME"]);
    page.text([roman("picket.toml - configuration of picket")]);
    page.control("SH", ["SYNOPSIS"]);
    page.text([italic("/etc/picket/picket.toml")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([
        roman("Settings of the daemon in TOML. No file is read unless "),
        bold("--config"),
        roman(" or "),
        bold("PICKET_CONFIG"),
        roman(" names one; the systemd unit names this one. A flag of "),
        bold("picket serve"),
        roman(" comes first, then the environment, then the file, then the default. "),
        bold("picket config check"),
        roman(" prints what results. A key that is not known is refused."),
    ]);
    page.control("PP", []);
    page.text([roman(
        "Below, each setting has its default, or an example where the text says what holds when it \
         is unset.",
    )]);
    page.control("SH", ["SETTINGS"]);
    let mut section = "";
    for setting in SETTINGS {
        if setting.section != section {
            section = setting.section;
            page.control("SS", [format!("[{section}]").as_str()]);
        }
        page.control("TP", []);
        page.text([bold(line(setting, setting.example))]);
        page.text([roman(explained(setting, setting.device))]);
        page.control("br", []);
        page.text([bold(format!("--{}", setting.flag())), roman(", "), bold(setting.variable())]);
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([bold("picket-serve"), roman("(1), "), bold("picket-config-check"), roman("(1)")]);
    let mut text = Vec::new();
    page.to_writer(&mut text)?;
    Ok(File { path: "man/man5/picket.toml.5".to_string(), text })
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;
    use crate::tests::{edition, plain};

    #[test]
    fn every_setting_is_on_the_page_with_flag_and_variable() {
        let mut command = picket::cli::command();
        command.build();
        let text = plain(&page(&edition()).unwrap().text);
        let serve = command.find_subcommand("serve").unwrap();
        // Those that belong to every command are no settings of the file; former names are hidden.
        let settings =
            serve.get_arguments().filter(|flag| !flag.is_global_set() && !flag.is_hide_set());
        let settings: Vec<&Arg> = settings.filter(|flag| flag.get_env().is_some()).collect();
        assert!(settings.len() > 25, "{}", settings.len());
        for flag in settings {
            let variable = flag.get_env().unwrap().to_str().unwrap();
            let line = format!("\n--{}, {variable}\n", flag.get_long().unwrap());
            assert!(text.contains(&line), "the page lacks {line:?}: {text}");
        }
    }
}
