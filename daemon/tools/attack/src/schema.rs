//! schemathesis: requests made from the API's own description, answers held against it.

use std::path::Path;
use std::process::Command;

use anyhow::Context;

use crate::verdict::Verdict;
use crate::{Size, target};

/// All but those that take a schema for the whole truth: it can't say what makes a picture, or that
/// `batch_size` counts `predictions`, and an empty parameter counts as absent.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance,unsupported_method";

pub fn run(
    picket: &Path,
    size: Size,
    schemathesis: &Path,
    verdict: &mut Verdict,
) -> anyhow::Result<()> {
    let (_state, daemon) = target::start(picket)?;
    let examples = if size == Size::Full { "500" } else { "50" };
    verdict.title(&format!("schema: {examples} examples of each kind"));
    let description = format!("http://{}/openapi.yaml", daemon.api);
    let status = Command::new(schemathesis)
        .args(["run", &description, "--checks", CHECKS, "--max-examples", examples])
        .args(["--seed", "1", "--no-color"])
        .status()
        .with_context(|| format!("cannot run {}", schemathesis.display()))?;
    verdict.goal("schemathesis", status, "exit status: 0", status.success());
    let errors = daemon.metric("inference_errors_total{model=\"cifar10-model\"}")?;
    verdict.goal("faults of the daemon", errors, "none", errors == 0.0);
    verdict.goal("still predicts", daemon.predicts(), "true", daemon.predicts());
    target::stop(daemon)?.judge(verdict);
    Ok(())
}
