//! The settings as an operator meets them: layers, problems, warnings, and the documents about them.

use std::collections::BTreeMap;

use secrecy::ExposeSecret;

use super::variables::VARIABLES;
use super::*;

const KEY: &str = "0123456789abcdef0123456789abcdef";

fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn environment(pairs: &[(&str, &str)]) -> Sources {
    Sources { environment: texts(pairs), ..Sources::default() }
}

/// A production environment that may start, with these variables changed.
fn production(changes: &[(&str, &str)]) -> Sources {
    let mut sources = environment(&[
        ("APP_ENV", "production"),
        ("DATABASE_URL", "postgresql://dealix:p4ss@127.0.0.1/dealix"),
        ("REDIS_URL", "redis://127.0.0.1:6379/0"),
        ("JWT_SECRET_KEY", "jwt-0123456789abcdef0123456789abcdef"),
        ("ADMIN_API_KEYS", "admin-0123456789abcdef0123456789abcdef"),
        ("MOYASAR_SECRET_KEY", "sk_live_8fK2"),
        ("MOYASAR_WEBHOOK_SECRET", "hook-0123456789abcdef0123456789abcdef"),
    ]);
    sources.environment.extend(texts(changes));
    sources
}

fn with_file(name: &str, text: &str) -> Sources {
    let default = include_str!("../../config/default.toml");
    let folder = Some(texts(&[("default.toml", default), (name, text)]));
    Sources { folder, ..environment(&[("APP_ENV", name.trim_end_matches(".toml"))]) }
}

fn problems(sources: &Sources) -> Vec<String> {
    inspect(sources).problems.iter().map(ToString::to_string).collect()
}

fn warnings(sources: &Sources) -> Vec<String> {
    load(sources).unwrap().warnings.iter().map(ToString::to_string).collect()
}

fn config(sources: &Sources) -> Config {
    load(sources).unwrap().config
}

/// Value and origin of one setting.
fn shown(sources: &Sources, key: &str) -> (String, String) {
    let settings = inspect(sources).settings;
    let setting = settings.iter().find(|setting| setting.key() == key).unwrap();
    (setting.shown(), setting.origin().to_string())
}

#[test]
fn each_layer_is_stronger_than_the_one_before_it_and_says_so() {
    let mut sources = with_file("production.toml", "[database]\nmax_connections = 21");
    let of = |sources: &Sources| shown(sources, "database.max_connections");
    let pair = |value: &str, origin: &str| (value.to_owned(), origin.to_owned());
    assert_eq!(shown(&sources, "app.port"), pair("8001", "default.toml"));
    assert_eq!(of(&sources), pair("21", "production.toml"));
    sources.dotenv = texts(&[("DATABASE_MAX_CONNECTIONS", "22")]);
    assert_eq!(of(&sources), pair("22", ".env"));
    sources.environment.extend(texts(&[("DATABASE_MAX_CONNECTIONS", "23")]));
    assert_eq!(of(&sources), pair("23", "environment"));
    sources.credentials = texts(&[("DATABASE_MAX_CONNECTIONS", "24")]);
    assert_eq!(of(&sources), pair("24", "credentials"));
    assert_eq!(inspect(&sources).settings.len(), inspect(&Sources::default()).settings.len());
}

#[test]
fn an_empty_value_counts_as_not_set() {
    let mut sources = environment(&[("APP_PORT", " "), ("CORS_ORIGINS", "")]);
    sources.dotenv = texts(&[("APP_PORT", "8002")]);
    let config = config(&sources);
    assert_eq!(config.app.port, 8002);
    assert_eq!(config.http.cors_origins, ["https://dealix.me"]);
}

#[test]
fn an_empty_metrics_address_switches_the_listener_off() {
    let mut sources = environment(&[("METRICS_ADDR", "")]);
    sources.dotenv = texts(&[("METRICS_ADDR", "127.0.0.1:9999")]);
    assert_eq!(config(&sources).app.metrics_addr, None);
    assert!(config(&Sources::default()).app.metrics_addr.is_some());
}

#[test]
fn older_names_work_and_newer_ones_win() {
    let older = environment(&[
        ("ENVIRONMENT", "test"),
        ("PORT", "5000"),
        ("LLM_PRIMARY_PROVIDER", "anthropic"),
        ("LLM_FALLBACK_PROVIDER", "groq, openai"),
    ]);
    let config = config(&older);
    assert_eq!((config.app.env, config.app.port), (Environment::Test, 5000));
    assert_eq!(config.llm.provider_priority, ["anthropic", "groq", "openai"]);
    let mut both = older;
    both.environment.extend(texts(&[("APP_PORT", "6000"), ("LLM_PROVIDER_PRIORITY", "google")]));
    let config = load(&both).unwrap().config;
    assert_eq!(config.app.port, 6000);
    assert_eq!(config.llm.provider_priority, ["google"]);
}

#[test]
fn a_mistake_is_told_under_the_name_that_was_used() {
    assert_eq!(
        problems(&environment(&[("PORT", "80a1")])),
        ["PORT: must be a whole number; read from environment"]
    );
}

#[test]
fn unknown_variables_are_no_error() {
    assert!(load(&environment(&[("DEALIX_NO_SUCH_THING", "1"), ("PATH", "/bin")])).is_ok());
}

#[test]
fn development_makes_up_its_secrets_and_expects_the_stores_next_door() {
    let loaded = load(&Sources::default()).unwrap();
    let names: Vec<_> = loaded.made_up.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["JWT_SECRET_KEY", "ADMIN_API_KEYS", "MOYASAR_WEBHOOK_SECRET"]);
    let secrets: Vec<_> = loaded.made_up.iter().map(|(_, secret)| secret.expose_secret()).collect();
    assert!(secrets.iter().all(|secret| secret.len() == 64));
    assert!(secrets[0] != secrets[1] && secrets[1] != secrets[2]);
    assert_eq!(loaded.config.auth.admin_api_keys[0].expose_secret(), secrets[1]);
    assert_eq!(loaded.config.database.url.expose_secret(), "postgres://127.0.0.1:5432/dealix");
    assert_eq!(loaded.config.app.env, Environment::Development);
    let again = load(&Sources::default()).unwrap();
    assert_ne!(again.made_up[0].1.expose_secret(), secrets[0]);
    assert!(load(&environment(&[("JWT_SECRET_KEY", KEY)])).unwrap().made_up.len() == 2);
}

#[test]
fn nothing_is_made_up_where_customers_could_be() {
    for environment in ["staging", "production"] {
        let sources =
            Sources { environment: texts(&[("APP_ENV", environment)]), ..Sources::default() };
        let missing: Vec<_> = inspect(&sources).problems.iter().map(|p| p.name.clone()).collect();
        assert_eq!(
            missing,
            [
                "DATABASE_URL",
                "REDIS_URL",
                "JWT_SECRET_KEY",
                "ADMIN_API_KEYS",
                "MOYASAR_SECRET_KEY",
                "MOYASAR_WEBHOOK_SECRET"
            ]
        );
    }
}

#[test]
fn a_release_build_must_be_told_where_it_runs() {
    let sources = Sources { requires_app_env: true, ..production(&[("APP_ENV", "")]) };
    assert_eq!(
        problems(&sources),
        ["APP_ENV: must be set: development, test, staging or production"]
    );
    assert_eq!(problems(&Sources { requires_app_env: true, ..production(&[]) }), [""; 0]);
}

#[test]
fn a_misspelt_environment_is_held_to_the_strictest_rules() {
    let sources = production(&[("APP_ENV", "prod"), ("JWT_SECRET_KEY", "short")]);
    assert_eq!(
        problems(&sources),
        [
            "APP_ENV: must be development, test, staging or production; read from environment",
            "JWT_SECRET_KEY: is weak: it must have at least 32 bytes",
        ]
    );
}

#[test]
fn production_starts_when_everything_is_given() {
    let config = config(&production(&[]));
    assert_eq!(config.app.env, Environment::Production);
    assert_eq!(config.app.url.as_str(), "https://api.dealix.me/");
}

#[test]
fn every_problem_is_told_at_once_and_no_secret_with_it() {
    let sources = production(&[
        ("APP_URL", "http://api.dealix.me"),
        ("DATABASE_URL", "mysql://user:hunter2@127.0.0.1/dealix"),
        ("REDIS_URL", ""),
        ("JWT_SECRET_KEY", "hunter2"),
        ("JWT_ALGORITHM", "none"),
        ("ADMIN_API_KEYS", "changeme-hunter2-0123456789abcdef0123456789"),
        ("MOYASAR_SECRET_KEY", "<hunter2>"),
        ("DATABASE_MAX_CONNECTIONS", "0"),
        ("POSTHOG_ENABLED", "maybe"),
        ("POSTHOG_API_KEY", " hunter2"),
    ]);
    let problems = problems(&sources);
    assert_eq!(
        problems,
        [
            "DATABASE_URL: must be a URL such as postgresql://user:password@host:5432/dealix; read from environment",
            "DATABASE_MAX_CONNECTIONS: must be a number from 1 to 1000",
            "POSTHOG_API_KEY: has blanks around it; read from environment",
            "POSTHOG_ENABLED: must be true or false (also 1, 0, yes, no, on, off); read from environment",
            "REDIS_URL: is missing; production needs it",
            "JWT_SECRET_KEY: is weak: it must have at least 32 bytes",
            "ADMIN_API_KEYS: holds a placeholder",
            "MOYASAR_SECRET_KEY: holds a placeholder",
            "APP_URL: must be https in production",
            "JWT_ALGORITHM: must be HS256",
        ]
    );
    assert!(!problems.concat().contains("hunter2"));
}

#[test]
fn a_secret_is_weak_below_32_bytes_and_a_providers_is_not_measured() {
    let of_length = |length: usize| "k".repeat(length);
    for name in
        ["API_KEYS", "ADMIN_READ_API_KEYS", "JWT_SECRET_KEY_NEXT", "MOYASAR_WEBHOOK_SECRET_NEXT"]
    {
        assert_eq!(problems(&production(&[(name, &of_length(32))])), [""; 0]);
        assert_eq!(
            problems(&production(&[(name, &of_length(31))])),
            [format!("{name}: is weak: it must have at least 32 bytes")]
        );
    }
    let list = format!("{},short", of_length(32));
    assert_eq!(problems(&production(&[("API_KEYS", &list)])).len(), 1);
    assert_eq!(problems(&production(&[("POSTHOG_API_KEY", "phc_1")])), [""; 0]);
    assert_eq!(problems(&environment(&[("API_KEYS", "short")])), [""; 0]);
}

#[test]
fn a_rotation_needs_two_different_secrets() {
    let sources = environment(&[
        ("JWT_SECRET_KEY", KEY),
        ("JWT_SECRET_KEY_NEXT", KEY),
        ("MOYASAR_WEBHOOK_SECRET", KEY),
        ("MOYASAR_WEBHOOK_SECRET_NEXT", KEY),
    ]);
    assert_eq!(
        problems(&sources),
        [
            "JWT_SECRET_KEY_NEXT: must differ from JWT_SECRET_KEY",
            "MOYASAR_WEBHOOK_SECRET_NEXT: must differ from MOYASAR_WEBHOOK_SECRET",
        ]
    );
}

#[test]
fn a_key_belongs_to_one_scope() {
    let sources = environment(&[
        ("API_KEYS", "a,b,b"),
        ("ADMIN_API_KEYS", "c,b"),
        ("ADMIN_READ_API_KEYS", "d"),
    ]);
    assert_eq!(problems(&sources), ["ADMIN_API_KEYS: holds a key that is in API_KEYS too"]);
}

#[test]
fn a_key_that_nobody_could_present_is_refused() {
    let detail = "API_KEYS: holds a key that is not visible ASCII or reads like a JWT";
    assert_eq!(problems(&environment(&[("API_KEYS", "مفتاح")])), [detail]);
    assert_eq!(problems(&environment(&[("API_KEYS", "a.b.c")])), [detail]);
}

#[test]
fn keys_of_the_gateway_are_not_mistaken_for_each_other() {
    let sources = environment(&[
        ("MOYASAR_SECRET_KEY", "pk_live_8fK2"),
        ("MOYASAR_PUBLISHABLE_KEY", "sk_live_8fK2"),
    ]);
    assert_eq!(
        problems(&sources),
        [
            "MOYASAR_PUBLISHABLE_KEY: must be a publishable key (pk_…), never a secret one; read from environment",
            "MOYASAR_SECRET_KEY: is a publishable key; the secret one begins with sk_",
        ]
    );
    assert_eq!(shown(&sources, "moyasar.publishable_key").0, "");
}

#[test]
fn a_typo_a_wrong_type_or_a_secret_in_a_file_is_told_with_the_file() {
    let sources = with_file(
        "test.toml",
        "[http]\nrequest_timeout_sec = 5\nmax_connections = \"many\"\nbody_limit_bytes = 0\n\
         [app]\nhost = \"localhost\"\nenv = \"production\"\n[auth]\njwt_secret_key = \"hunter2\"\n\
         [sentry]\ntraces_sample_rate = 1\n",
    );
    let problems = problems(&sources);
    assert_eq!(
        problems,
        [
            "test.toml: app.env: the environment chooses the file; set APP_ENV instead",
            "test.toml: app.host: must be an IP address",
            "test.toml: auth.jwt_secret_key: a secret never stands in a file; set JWT_SECRET_KEY instead",
            "test.toml: http.body_limit_bytes: must be a number from 1024 to 67108864",
            "test.toml: http.max_connections: must be a whole number",
            "test.toml: http.request_timeout_sec: there is no such setting",
        ]
    );
    assert_eq!(shown(&sources, "sentry.traces_sample_rate"), ("1.0".into(), "test.toml".into()));
}

#[test]
fn a_file_that_is_no_toml_is_told_without_its_text() {
    let problems = problems(&with_file("test.toml", "[app]\nhost = hunter2"));
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with("test.toml: line 2: "), "{problems:?}");
    assert!(!problems[0].contains("hunter2"));
}

#[test]
fn a_folder_of_files_replaces_the_compiled_in_ones_but_may_lack_newer_keys() {
    let folder = Some(texts(&[("default.toml", "[app]\nport = 9000")]));
    let sources = Sources { folder, ..production(&[]) };
    assert_eq!(shown(&sources, "app.port"), ("9000".into(), "default.toml".into()));
    assert_eq!(shown(&sources, "http.drain_secs"), ("3".into(), "default.toml".into()));
    // The compiled-in production.toml, which names an https URL, is not read.
    assert_eq!(problems(&sources), ["APP_URL: must be https in production"]);
}

#[test]
fn the_emergency_procedure_starts_production_and_only_warns() {
    let sources = production(&[
        ("NEW_QUEUE_ENABLED", "false"),
        ("SECURITY_HEADERS_ENABLED", "false"),
        ("RATELIMIT_ENABLED", "false"),
        ("WEBHOOK_VERIFY_ALL", "false"),
        ("ABUSE_GUARDS_ENABLED", "false"),
    ]);
    assert_eq!(
        warnings(&sources),
        ["WEBHOOK_VERIFY_ALL: false is refused in production: webhooks stay verified"]
    );
}

#[test]
fn what_works_but_is_hardly_meant_is_a_warning() {
    assert_eq!(warnings(&production(&[])), [""; 0]);
    let sources = production(&[
        ("MOYASAR_SECRET_KEY", "sk_test_8fK2"),
        ("CORS_ORIGINS", "https://dealix.me,*"),
        ("METRICS_ADDR", "0.0.0.0:9464"),
        ("LLM_PROVIDER_PRIORITY", "groq,grok"),
    ]);
    assert_eq!(
        warnings(&sources),
        [
            "MOYASAR_SECRET_KEY: is a test key: nobody can pay real money",
            "CORS_ORIGINS: lets every website call us from its visitors' browsers",
            "METRICS_ADDR: is not loopback: whoever reaches it reads the metrics without a key",
            "LLM_PROVIDER_PRIORITY: unknown, not called: grok",
        ]
    );
    let sources = environment(&[("MOYASAR_SECRET_KEY", "sk_live_8fK2")]);
    assert_eq!(warnings(&sources), ["MOYASAR_SECRET_KEY: is a live key: this takes real money"]);
}

#[test]
fn a_shutdown_cannot_be_shorter_than_its_first_part() {
    let sources = with_file("test.toml", "[http]\ndrain_secs = 9\nshutdown_secs = 8");
    assert_eq!(
        problems(&sources),
        ["test.toml: http.drain_secs: must not be longer than http.shutdown_secs"]
    );
}

#[test]
fn a_window_of_calls_holds_as_many_as_rates_need() {
    for (calls, is_told) in [(0, false), (1, true), (9, true), (10, false)] {
        let sources = with_file("test.toml", &format!("[posthog.breaker]\nwindow_calls = {calls}"));
        assert_eq!(!problems(&sources).is_empty(), is_told, "{calls}");
    }
}

#[test]
fn a_checkout_has_a_minute_to_begin_wherever_money_is_moved() {
    for (environment, seconds, is_told) in
        [("production", 59, true), ("staging", 59, true), ("production", 60, false)]
    {
        let file = format!("[checkout]\nresolve_after_secs = {seconds}");
        let folder = texts(&[
            ("default.toml", include_str!("../../config/default.toml")),
            ("production.toml", &format!("{file}\n[app]\nurl = \"https://api.dealix.me\"")),
            ("staging.toml", &file),
        ]);
        let told = format!(
            "{environment}.toml: checkout.resolve_after_secs: must be at least 60 in {environment}"
        );
        let sources = production(&[("APP_ENV", environment)]);
        let problems = problems(&Sources { folder: Some(folder), ..sources });
        assert_eq!(problems.contains(&told), is_told, "{problems:?}");
    }
}

#[test]
fn one_visitor_alone_cannot_use_up_the_checkouts_of_an_address() {
    let config = load(&production(&[])).unwrap().config;
    let of_one_visitor = config.http.rates.checkout_per_minute * 60;
    assert!(config.checkout.per_email_hourly > of_one_visitor, "{of_one_visitor}");
}

#[test]
fn a_secret_is_never_shown() {
    let sources = production(&[("POSTHOG_API_KEY", "phc_hunter2")]);
    for setting in inspect(&sources).settings {
        let is_secret = setting.variable().is_some_and(|variable| variable.kind.is_secret());
        let hidden = setting.shown().is_empty() || setting.shown() == "[redacted]";
        assert!(!is_secret || hidden, "{}", setting.key());
    }
    assert_eq!(shown(&sources, "posthog.api_key"), ("[redacted]".into(), "environment".into()));
    assert_eq!(shown(&sources, "sentry.dsn"), (String::new(), "not set".into()));
    assert!(!format!("{:?}", load(&sources).unwrap()).contains("hunter2"));
}

#[test]
fn the_table_the_files_and_the_struct_speak_of_the_same_settings() {
    for (at, variable) in VARIABLES.iter().enumerate() {
        let twins = VARIABLES
            .iter()
            .skip(at + 1)
            .any(|other| other.name == variable.name || other.key == variable.key);
        assert!(!twins, "{} stands twice in the table", variable.name);
    }
    // Every key of the table is a field, as is every key of default.toml: unknown ones are denied.
    for environment in Environment::ALL {
        let sources = production(&[("APP_ENV", environment.name())]);
        let inspection = inspect(&sources);
        assert_eq!(inspection.problems, []);
        for variable in VARIABLES {
            assert!(
                inspection.settings.iter().any(|setting| setting.key() == variable.key),
                "{}",
                variable.name
            );
        }
    }
}

#[test]
fn every_default_is_one_that_a_file_may_say() {
    let default = include_str!("../../config/default.toml");
    let as_given = inspect(&with_file("test.toml", default));
    assert_eq!(as_given.problems, []);
    let defaults = inspect(&Sources::default()).settings;
    for (given, default) in as_given.settings.iter().zip(&defaults) {
        if matches!(default.origin(), Origin::File(_)) {
            assert_eq!(given.shown(), default.shown(), "{} is spelled another way", given.key());
        }
    }
}

#[test]
fn env_example_and_the_page_are_up_to_date() {
    assert_eq!(
        reference::env_example(),
        include_str!("../../.env.example"),
        "run `cargo run -- check-config --example > .env.example`"
    );
    assert_eq!(
        reference::page(),
        include_str!("../../docs/configuration.md"),
        "run `cargo run -- check-config --reference > docs/configuration.md`"
    );
}

#[test]
fn env_example_works_as_env_and_changes_nothing() {
    let lines = dotenvy::Iter::new(std::io::Cursor::new(reference::env_example()));
    let dotenv: BTreeMap<_, _> = lines.map(Result::unwrap).collect();
    let names: Vec<_> = VARIABLES.iter().map(|variable| variable.name.to_owned()).collect();
    assert_eq!(dotenv.keys().collect::<std::collections::BTreeSet<_>>(), names.iter().collect());
    let copied = inspect(&Sources { dotenv, ..Sources::default() });
    assert_eq!(copied.problems, []);
    for (copied, default) in copied.settings.iter().zip(&inspect(&Sources::default()).settings) {
        assert_eq!(copied.shown(), default.shown(), "{}", copied.key());
    }
}
