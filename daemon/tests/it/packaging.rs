//! What is installed beside the binary agrees with it.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::support::{run, stderr, stdout};

fn packaged(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(packaged(name)).unwrap()
}

/// `key = value` behind a `#`, told from prose by the `=` after one word.
fn setting(line: &str) -> Option<&str> {
    let setting = line.strip_prefix('#')?;
    let (key, _) = setting.split_once(" = ")?;
    let is_key = key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    (is_key && !key.is_empty()).then_some(setting)
}

/// Samples of the configuration: a bare device's, and what k3s mounts into the pod.
const SAMPLES: [&str; 2] = ["systemd/picket.toml", "k3s/base/picket.toml"];

/// A sample with every setting switched on.
fn uncommented(sample: &str) -> String {
    let sample = read(sample);
    sample.lines().map(|line| setting(line).unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

/// Keys whose comment says that nothing is set unless somebody does: their values are examples.
fn examples(sample: &str) -> Vec<String> {
    let sample = read(sample);
    let mut paragraph = String::new();
    let mut keys = Vec::new();
    for line in sample.lines() {
        match setting(line) {
            Some(setting) if paragraph.contains("Unset:") => {
                keys.push(setting.split_once(' ').unwrap().0.to_string());
            }
            Some(_) => {}
            None if line.is_empty() => paragraph.clear(),
            None => paragraph.push_str(line),
        }
    }
    keys
}

/// `section.key` of everything in a configuration.
fn flat(table: &Table) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for (name, value) in table {
        match value {
            Value::Table(section) => {
                let keys = section.iter();
                all.extend(keys.map(|(key, value)| (format!("{name}.{key}"), value.clone())));
            }
            value => all.push((name.clone(), value.clone())),
        }
    }
    all
}

fn config_check(file: &Path) -> Table {
    let output = run(["config", "check", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    toml::from_str(stdout(&output)).unwrap()
}

#[test]
fn the_sample_configurations_change_nothing_as_they_are() {
    let defaults: Table = toml::from_str(stdout(&run(["config", "check"]))).unwrap();
    for sample in SAMPLES {
        assert_eq!(config_check(&packaged(sample)), defaults, "{sample}");
    }
}

#[test]
fn the_sample_configurations_show_each_default_and_are_accepted_whole() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("picket.toml");
    let defaults: Table = toml::from_str(stdout(&run(["config", "check"]))).unwrap();
    for sample in SAMPLES {
        std::fs::write(&file, uncommented(sample)).unwrap();
        let result = flat(&config_check(&file));
        let examples = examples(sample);
        assert!(examples.len() > 3 && result.len() > 20, "{examples:?} {result:?}");
        for (key, value) in flat(&defaults) {
            let (_, shown) = result.iter().find(|(name, _)| *name == key).unwrap();
            if !examples.iter().any(|name| key == *name || key.ends_with(&format!(".{name}"))) {
                assert_eq!(shown, &value, "{key} in {sample}");
            }
        }
    }
}

#[test]
fn the_sample_configurations_have_every_documented_key() {
    let docs = read("docs/configuration.md");
    // | `[api] listen` | `--api-listen` | …
    let flag = |row: &str| row.split('|').nth(2).is_some_and(|c| c.trim().starts_with("`--"));
    let rows = docs.lines().filter(|line| line.starts_with("| `") && flag(line));
    let documented: Vec<String> = rows
        .map(|row| row.split('`').nth(1).unwrap())
        .map(|key| key.replace('[', "").replace("] ", "."))
        .collect();
    assert!(documented.len() > 20, "{documented:?}");
    for name in SAMPLES {
        let sample: Table = toml::from_str(&uncommented(name)).unwrap();
        let sample: Vec<String> = flat(&sample).into_iter().map(|(key, _)| key).collect();
        for key in &documented {
            assert!(sample.contains(key), "{name} lacks {key}");
        }
        for key in &sample {
            assert!(documented.contains(key), "docs/configuration.md lacks {key} of {name}");
        }
    }
}

/// Scripts of the Debian package name the units; each that is shipped must be among them.
#[test]
fn the_package_starts_stops_and_purges_every_unit() {
    let directory = std::fs::read_dir(packaged("systemd")).unwrap();
    let names = directory.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let is_unit = |name: &String| name.ends_with(".service") || name.ends_with(".socket");
    let units: Vec<String> = names.filter(is_unit).collect();
    assert_eq!(units.len(), 3, "{units:?}");
    for script in ["postinst", "prerm", "postrm"] {
        let text = read(&format!("packaging/debian/{script}"));
        for unit in &units {
            let named = text.split([' ', ';', '\n']).any(|word| word == unit);
            assert!(named, "packaging/debian/{script} does not name {unit}");
        }
    }
}

/// Lines of the unit that begin with this key, without it.
fn unit_lines(key: &str) -> Vec<String> {
    let unit = read("systemd/picket.service");
    unit.lines().filter_map(|line| line.strip_prefix(key)).map(str::to_string).collect()
}

/// The unit allows no other port: a default that changes alone would keep the daemon from starting.
#[test]
fn the_unit_lets_the_daemon_listen_where_it_does_by_default() {
    let defaults: Table = toml::from_str(stdout(&run(["config", "check"]))).unwrap();
    let port = |section: &str| {
        let listen = defaults[section]["listen"].as_str().unwrap();
        format!("tcp:{}", listen.rsplit_once(':').unwrap().1)
    };
    assert_eq!(unit_lines("SocketBindDeny="), ["any"]);
    assert_eq!(unit_lines("SocketBindAllow="), [port("api"), port("probe")]);
    assert_eq!(unit_lines("MemorySwapMax="), ["0"]);
}

/// What postinst makes, the unit loads and picket.toml names is one file.
#[test]
fn the_token_of_the_package_is_one_line_away() {
    let file = "/etc/picket/credentials/token";
    assert!(read("packaging/debian/postinst").contains(&format!("${{DPKG_ROOT:-}}{file}")));
    let made = format!("made-token:{file}");
    assert!(unit_lines("LoadCredential=").contains(&made));
    assert_eq!(unit_lines("SetCredential="), ["made-token:none"], "no unit fails without the file");
    let line = "#token_file = \"/run/credentials/picket.service/made-token\"";
    let sample = read("systemd/picket.toml");
    assert!(sample.lines().any(|found| found == line), "{sample}");
    assert!(sample.contains(file), "it says where the token lies");
    let (component, cluster) =
        (read("k3s/components/token/kustomization.yaml"), read("k3s/base/picket.toml"));
    let mounted = "/etc/picket-token/token";
    assert!(component.contains(&format!("name: PICKET_API_TOKEN_FILE, value: {mounted}")));
    assert!(cluster.contains(&format!("#token_file = \"{mounted}\"\n")), "{cluster}");
}

#[test]
fn every_setting_is_in_the_documentation() {
    let docs = read("docs/configuration.md");
    let help = run(["serve", "--help"]);
    let help = stdout(&help);
    let variables: Vec<&str> = help
        .split("[env: ")
        .skip(1)
        .map(|rest| rest.split(['=', ']']).next().unwrap())
        .filter(|variable| variable.starts_with("PICKET_"))
        .collect();
    assert!(variables.len() > 20, "{variables:?}");
    for variable in variables {
        assert!(docs.contains(&format!("`{variable}`")), "docs/configuration.md lacks {variable}");
    }
}
