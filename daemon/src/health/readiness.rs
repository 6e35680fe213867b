//! Readiness: what the daemon has reached and what stands in its way, as the list of checks that
//! /ready picks its reason from.

use super::log_state::LogState;
use super::outcomes::Fared;
use super::state::Health;
use super::subsystem::Subsystem;

/// From this share of server-side errors on, traffic should go elsewhere.
const ERROR_RATE_MAX: f64 = 0.1;

/// A reason why the daemon is not ready; the contract fixes the texts.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    Starting,
    Draining,
    ModelNotLoaded,
    DatabaseNotInitialized,
    DatabaseNotAccessible,
    HighErrorRate { error_rate: f64 },
    MlflowNotAccessible,
    Overloaded,
}

impl Reason {
    /// All texts, for the metric that shows the reason.
    pub const LABELS: [&str; 8] = [
        "starting",
        "draining",
        "model_not_loaded",
        "database_not_initialized",
        "database_not_accessible",
        "high_error_rate",
        "mlflow_not_accessible",
        "overloaded",
    ];

    pub fn as_str(&self) -> &'static str {
        Reason::LABELS[match self {
            Reason::Starting => 0,
            Reason::Draining => 1,
            Reason::ModelNotLoaded => 2,
            Reason::DatabaseNotInitialized => 3,
            Reason::DatabaseNotAccessible => 4,
            Reason::HighErrorRate { .. } => 5,
            Reason::MlflowNotAccessible => 6,
            Reason::Overloaded => 7,
        }]
    }
}

/// One line of `/ready?verbose`.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    pub name: String,
    /// What is wrong, for a person to read.
    pub failure: Option<String>,
    /// Set when a failure makes the daemon not ready.
    pub reason: Option<Reason>,
}

impl Health {
    /// Every check, in the order in which a reason is picked: the first failing one names it.
    pub fn readiness(&self) -> Vec<Check> {
        let mut checks = vec![
            check("startup", Reason::Starting, self.check_serving()),
            check("draining", Reason::Draining, self.check_draining()),
            check("model", Reason::ModelNotLoaded, self.check_model()),
        ];
        checks.extend(self.check_log());
        checks.push(self.check_error_rate());
        checks.push(check("capacity", Reason::Overloaded, self.check_capacity()));
        if let Some(registry) = self.registry() {
            let failure = (!registry.accessible).then(|| "no answer".to_string());
            let mut mlflow = check("mlflow", Reason::MlflowNotAccessible, failure);
            mlflow.reason = mlflow.reason.filter(|_| registry.required);
            checks.push(mlflow);
        }
        // A stuck subsystem fails liveness; here it is shown, and startup tells "not yet".
        let told = |Subsystem { name, standing, .. }| {
            let failure = standing.trouble().map(str::to_string);
            Check { name, failure, reason: None }
        };
        checks.extend(self.subsystems().into_iter().map(told));
        checks
    }

    fn check_serving(&self) -> Option<String> {
        let started = self.is_serving() || self.is_draining();
        (!started).then(|| "still starting".to_string())
    }

    fn check_draining(&self) -> Option<String> {
        self.is_draining().then(|| "shutting down".to_string())
    }

    fn check_model(&self) -> Option<String> {
        if !self.is_model_loaded() {
            return Some("no model loaded".to_string());
        }
        // Only a worker finds a fault, and only in the model that all of them share.
        self.faults().into_iter().next()
    }

    /// The log itself, whether it may promise durability, and what it went through. The last two
    /// are shown and not judged: records are taken all the same.
    fn check_log(&self) -> [Check; 3] {
        let state = self.log();
        let reason = match state {
            LogState::Opening => Reason::DatabaseNotInitialized,
            _ => Reason::DatabaseNotAccessible,
        };
        let doubt = match &state {
            LogState::Suspect(why) => Some(format!("no promises until a remount: {why}")),
            _ => None,
        };
        let history = self.log_history().join("; ");
        let told = |name: &str, failure| Check { name: name.to_string(), failure, reason: None };
        [
            check("log", reason, state.refusal().map(str::to_string)),
            told("log_durability", doubt),
            told("log_history", (!history.is_empty()).then_some(history)),
        ]
    }

    fn check_error_rate(&self) -> Check {
        let error_rate = self.error_rate();
        let failure = (error_rate > ERROR_RATE_MAX)
            .then(|| format!("{:.0} % of requests failed in the last minute", error_rate * 100.0));
        check("error_rate", Reason::HighErrorRate { error_rate }, failure)
    }

    fn check_capacity(&self) -> Option<String> {
        let fared @ Fared { senders, turned_away, .. } = self.fared();
        fared.is_overload().then(|| {
            format!("most requests of {turned_away} of {senders} addresses were turned away lately")
        })
    }
}

fn check(name: &str, reason: Reason, failure: Option<String>) -> Check {
    let reason = failure.is_some().then_some(reason);
    Check { name: name.to_string(), failure, reason }
}
