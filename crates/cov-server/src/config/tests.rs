//! Layers, faults, the printed form, and the page that describes all of it.

use super::*;

fn sources(environment: &[(&str, &str)], flags: &[(&'static str, &[&str])]) -> Sources {
    let own = |text: &&str| (*text).to_owned();
    let mut all = vec![("HOME", "/home/ada")];
    all.extend(environment);
    Sources {
        file: None,
        flags: flags.iter().map(|(key, values)| (*key, values.iter().map(own).collect())).collect(),
        environment: all
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    }
}

fn file(text: &str) -> (tempfile::NamedTempFile, PathBuf) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let path = file.path().to_owned();
    (file, path)
}

fn faults(sources: &Sources) -> String {
    Config::load(sources).unwrap_err().to_string()
}

#[test]
fn defaults_follow_the_users_folders() {
    let config = Config::load(&sources(&[], &[])).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:48008");
    assert_eq!(config.data_dir, PathBuf::from("/home/ada/.local/share/cov"));
    assert_eq!(
        config,
        Config { listen: config.listen.clone(), ..Config::embedded(&config.data_dir) }
    );

    let elsewhere = Config::load(&sources(&[("XDG_DATA_HOME", "/data")], &[])).unwrap();
    assert_eq!(elsewhere.data_dir, PathBuf::from("/data/cov"));
    let relative = Config::load(&sources(&[("XDG_DATA_HOME", "data")], &[])).unwrap();
    assert_eq!(relative.data_dir, PathBuf::from("/home/ada/.local/share/cov"));
}

#[test]
fn without_a_home_the_data_directory_must_be_given() {
    let homeless = Sources::default();
    assert!(faults(&homeless).contains("--data-dir or COV_DATA_DIR"));
}

#[test]
fn the_command_line_beats_the_environment_beats_the_file_beats_the_default() {
    let (_keep, path) = file("workers = 2\ngrace = 2\nlog_level = 'warn'\n[limits]\nnodes = 9\n");
    let mut sources = sources(
        &[("COV_WORKERS", "3"), ("COV_GRACE", "3.5"), ("COV_LISTEN", "")],
        &[("workers", &["4"])],
    );
    sources.file = Some(path);
    let config = Config::load(&sources).unwrap();
    assert_eq!(config.workers, 4);
    assert_eq!(config.grace, Duration::from_millis(3500));
    assert_eq!(config.log_level, "warn");
    assert_eq!(config.limits.nodes, 9);
    assert_eq!(config.listen.tcp().unwrap().port(), 48008);
}

#[test]
fn the_file_may_be_named_by_the_environment() {
    let (_keep, path) = file("workers = 5\nallowed_hosts = ['a.example', 'b.example']\n");
    let text = path.to_str().unwrap();
    let config = Config::load(&sources(&[("COV_CONFIG", text)], &[])).unwrap();
    assert_eq!(config.workers, 5);
    assert_eq!(config.allowed_hosts, ["a.example", "b.example"]);
}

/// Every setting as the environment gives it.
const GIVEN: &[(&str, &str)] = &[
    ("COV_LISTEN", "localhost:0"),
    ("COV_DATA_DIR", "/data"),
    ("COV_PYTHON", "3.11"),
    ("COV_WORKERS", "7"),
    ("COV_GRACE", "0"),
    ("COV_ON_RESTART", "fail"),
    ("COV_CGROUPS", "off"),
    ("COV_DASK", "tcp://127.0.0.1:8786"),
    ("COV_EXECUTOR_DIR", "/"),
    ("COV_EXECUTOR_SLOTS", "slurm=20, ssh=4"),
    ("COV_NO_PLUGINS", "true"),
    ("COV_NO_TRIGGERS", "false"),
    ("COV_TRIGGERS_ONLY", "true"),
    ("COV_DISPATCHER", "http://127.0.0.1:48008"),
    ("COV_LOG_FORMAT", "json"),
    ("COV_LOG_LEVEL", "info,cov_exec=debug"),
    ("COV_INSECURE", "true"),
    ("COV_LOGIN", "remote"),
    ("COV_PUBLIC_URL", "https://cov.example.org"),
    ("COV_TLS_CERT", "/cert.pem"),
    ("COV_TLS_KEY", "/key.pem"),
    ("COV_AUDIT_DAYS", "7"),
    ("COV_UPGRADE_COPIES", "0"),
    ("COV_ALLOWED_HOSTS", "a.example, b.example"),
    ("COV_LIMITS__NODES", "1"),
    ("COV_LIMITS__MANIFEST_BYTES", "1024"),
    ("COV_LIMITS__UPLOAD_BYTES", "2048"),
    ("COV_LIMITS__BODY_MEMORY_BYTES", "4096"),
    ("COV_LIMITS__CONNECTIONS", "1"),
    ("COV_LIMITS__CONNECTIONS_PER_ADDRESS", "2"),
    ("COV_LIMITS__REGISTRATIONS", "3"),
    ("COV_LIMITS__UPLOADS", "4"),
    ("COV_LIMITS__REQUESTS", "5"),
    ("COV_LIMITS__REQUESTS_PER_SECOND", "6"),
    ("COV_LIMITS__REFUSALS_PER_MINUTE", "7"),
    ("COV_LIMITS__IDLE_SECONDS", "8"),
    ("COV_LIMITS__BODY_SECONDS", "9"),
    ("COV_LIMITS__BODY_BYTES_PER_SECOND", "10"),
    ("COV_LIMITS__ADDRESS_SECONDS", "60"),
    ("COV_LIMITS__DISK_BYTES", "11"),
    ("COV_LIMITS__DATABASE_BYTES", "12"),
    ("COV_LIMITS__FREE_BYTES", "13"),
];

#[test]
fn every_setting_can_be_given_in_the_environment() {
    let names: Vec<_> = SETTINGS.iter().map(settings::Setting::variable).collect();
    let given: Vec<_> = GIVEN.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, given);
    let expected = Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        data_dir: "/data".into(),
        python: Some("3.11".into()),
        workers: 7,
        grace: Duration::ZERO,
        on_restart: OnRestart::Fail,
        cgroups: Cgroups::Off,
        dask: Some("tcp://127.0.0.1:8786".into()),
        executor_dir: Some("/".into()),
        executor_slots: [("slurm".to_owned(), 20), ("ssh".to_owned(), 4)].into(),
        no_plugins: true,
        no_triggers: false,
        triggers_only: true,
        dispatcher: Some("http://127.0.0.1:48008".into()),
        log_format: LogFormat::Json,
        log_level: "info,cov_exec=debug".into(),
        insecure: true,
        allowed_hosts: vec!["a.example".into(), "b.example".into()],
        login: Login::Remote,
        public_url: Some("https://cov.example.org".into()),
        tls_cert: Some("/cert.pem".into()),
        tls_key: Some("/key.pem".into()),
        audit_days: 7,
        upgrade_copies: 0,
        limits: Limits {
            nodes: 1,
            manifest_bytes: 1024,
            upload_bytes: 2048,
            body_memory_bytes: 4096,
            connections: 1,
            connections_per_address: 2,
            registrations: 3,
            uploads: 4,
            requests: 5,
            requests_per_second: 6,
            refusals_per_minute: 7,
            idle_seconds: 8,
            body_seconds: 9,
            body_bytes_per_second: 10,
            address_seconds: 60,
            disk_bytes: 11,
            database_bytes: 12,
            free_bytes: 13,
        },
    };
    assert_eq!(Config::load(&sources(GIVEN, &[])).unwrap(), expected);
}

#[test]
fn all_faults_are_reported_at_once_with_their_source_and_what_to_do() {
    let (_keep, path) = file("workers = 'many'\ncolour = 'red'\n[limits]\nnodes = 0\nedges = 3\n");
    let mut sources = sources(
        &[("COV_LISTEN", "here"), ("COV_LOG_LEVEL", "cov=loud")],
        &[
            ("grace", &["-1"]),
            ("log_format", &["xml"]),
            ("on_restart", &["hope"]),
            ("allowed_hosts", &["a:1"]),
            ("executor_slots", &["slurm=20", "ssh"]),
            ("dask", &["8786"]),
        ],
    );
    sources.file = Some(path);
    let text = faults(&sources);
    for expected in [
        "`workers` is `many` (configuration file",
        "unknown key `colour`",
        "unknown key `limits.edges`",
        "`listen` is `here`",
        "`grace` is `-1`",
        "`log_format` is `xml` (option --log-format)",
        "it must be `human` or `json`",
        "`on_restart` is `hope` (option --on-restart)",
        "`limits.nodes` is `0`",
        "`allowed_hosts` is `a:1`",
        "`executor_slots` is `ssh`",
        "`dask` is `8786`",
        "`log_level` is `cov=loud`",
    ] {
        assert!(text.contains(expected), "{expected} is not in:\n{text}");
    }
}

#[test]
fn values_out_of_range_are_all_reported() {
    let text = faults(&sources(
        &[("COV_LOG_LEVEL", "cov=loud"), ("COV_LIMITS__NODES", "0")],
        &[
            ("workers", &["2000"]),
            ("allowed_hosts", &["a:1"]),
            ("limits.upload_bytes", &["1"]),
            ("upgrade_copies", &["101"]),
        ],
    ));
    let keys = ["log_level", "limits.nodes", "workers", "allowed_hosts", "limits.upload_bytes"];
    for key in keys.into_iter().chain(["upgrade_copies"]) {
        assert!(text.contains(&format!("`{key}` is ")), "{key} is not in:\n{text}");
    }
    assert_eq!(text.matches("hint: ").count(), 6, "{text}");
}

#[test]
fn an_address_that_others_can_reach_needs_a_word() {
    for address in ["0.0.0.0:48008", "192.0.2.7:1", "[::]:0"] {
        let text = faults(&sources(&[], &[("listen", &[address])]));
        assert!(text.contains("--insecure") && text.contains(address), "{text}");
        assert!(text.contains("--create-token"), "{text}");
        let allowed = sources(&[], &[("listen", &[address]), ("insecure", &[])]);
        assert_eq!(Config::load(&allowed).unwrap().listen.to_string(), address);
    }
    for address in ["127.0.0.1:0", "127.9.9.9:0", "[::1]:0", "[::ffff:127.0.0.1]:0", "localhost:0"]
    {
        assert!(Config::load(&sources(&[], &[("listen", &[address])])).is_ok(), "{address}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_a_fault() {
    let mut missing = sources(&[], &[]);
    missing.file = Some("/no/such/file.toml".into());
    assert!(faults(&missing).contains("/no/such/file.toml cannot be read"));

    let (_keep, path) = file("workers = = 2");
    missing.file = Some(path);
    assert!(faults(&missing).contains("is no TOML"));
}

#[test]
fn the_printed_configuration_reads_back_as_the_same() {
    let given = sources(
        &[("COV_ALLOWED_HOSTS", "a.example"), ("COV_DATA_DIR", "/da\"ta\\ö"), ("COV_GRACE", "1.5")],
        &[("workers", &["3"]), ("insecure", &[]), ("python", &["python3.12"])],
    );
    let printed = Config::print(&given).unwrap();
    assert!(printed.contains("workers = 3  # option --workers\n"), "{printed}");
    assert!(printed.contains("grace = 1.5  # environment variable COV_GRACE\n"), "{printed}");
    assert!(printed.contains("nodes = 2000000  # default\n"), "{printed}");

    let (_keep, path) = file(&printed);
    let mut read = sources(&[], &[]);
    read.file = Some(path);
    assert_eq!(Config::load(&read).unwrap(), Config::load(&given).unwrap());
}

/// The page `docs/config.md`, made from the table.
fn page() -> String {
    let mut text = String::from(PAGE_HEAD);
    for setting in SETTINGS {
        let flag = match setting.shape {
            Shape::Value(name) => format!("`--{} {name}`", setting.flag()),
            Shape::Switch => format!("`--{}`", setting.flag()),
            Shape::List(name) => format!("`--{} {name}`, as often as needed", setting.flag()),
        };
        text.push_str(&format!(
            "\n### `{}`\n\n{}. {}\n\n- Command line: {flag}\n- Environment: `{}`\n- Values: {}\n- Default: {}\n",
            setting.key, setting.help, setting.more, setting.variable(), setting.expects, setting.default,
        ));
    }
    text.push_str(&format!(
        "\n## Exit codes of `cov-server`\n\n```text\n{}\n```\n",
        crate::error::EXIT_CODES
    ));
    text
}

const PAGE_HEAD: &str = "\
# Configuration

<!-- Made from crates/cov-server/src/config/settings.rs. After a change there:
     COV_UPDATE_DOCS=1 cargo test -p cov-server the_page -->

The server `cov-server` and the command `cov start` take the same settings. They are read from, the last word counting:

1. the defaults below;
2. a configuration file in TOML, named by `--config FILE` or the environment variable `COV_CONFIG`; there is none by
   default;
3. environment variables that begin with `COV_`;
4. the command line.

A key with a dot stands in a table of the file: `limits.nodes` is `nodes` below `[limits]`. In the name of its
variable the dot becomes two underscores. An unknown key in the file is an error. All faults are reported at once.

`cov-server --print-config` prints the configuration in force as such a file, with the source of every value:

```toml
listen = \"127.0.0.1:48008\"  # default
workers = 4  # environment variable COV_WORKERS

[limits]
nodes = 1000  # option --limits-nodes
```

## Settings
";

#[test]
fn the_page_that_describes_the_settings_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/config.md");
    if std::env::var_os("COV_UPDATE_DOCS").is_some() {
        std::fs::write(path, page()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap();
    assert!(
        written == page(),
        "docs/config.md is not what the table of settings says; \
         COV_UPDATE_DOCS=1 cargo test -p cov-server the_page writes it anew"
    );
}

#[test]
fn the_public_address_is_one_that_requests_may_name() {
    let with = |url: &str| Config {
        public_url: Some(url.to_owned()),
        allowed_hosts: vec!["a.example".into()],
        ..Config::embedded("data")
    };
    let hosts = |url: &str| {
        let config = with(url);
        assert_eq!(config.validate(), [], "{url}");
        config.hosts()
    };
    assert_eq!(hosts("https://cov.example.org"), ["a.example", "cov.example.org"]);
    assert_eq!(hosts("http://10.0.0.7:48008/"), ["a.example", "10.0.0.7"]);
    assert_eq!(hosts("http://[fd00::7]:80"), ["a.example", "fd00::7"]);
    assert_eq!(hosts("http://[fd00::7]"), ["a.example", "fd00::7"]);
    for wrong in ["cov.example.org", "ftp://a", "http://", "http://a/path", "http://a:b"] {
        let faults = with(wrong).validate();
        assert!(faults.iter().any(|fault| fault.message.contains("public_url")), "{wrong}");
    }
}
