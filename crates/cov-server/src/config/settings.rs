//! The table of all settings: names, defaults and explanations, each written once. Flags,
//! environment variables, the help text and the page `docs/config.md` are made from it. Reads
//! nothing.

mod limits;

/// How a setting is given on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `--flag VALUE`; the name of the value in the help text.
    Value(&'static str),
    /// `--flag`.
    Switch,
    /// `--flag VALUE`, as often as needed; in the environment separated by commas.
    List(&'static str),
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    /// Its key in the configuration file.
    pub(crate) key: &'static str,
    /// How it is given on the command line.
    pub(crate) shape: Shape,
    /// Its default, in words.
    pub(crate) default: &'static str,
    /// What values it takes.
    pub(crate) expects: &'static str,
    /// What it does, in a sentence.
    pub(crate) help: &'static str,
    /// What else there is to know.
    pub(crate) more: &'static str,
}

impl Setting {
    /// Its flag without the dashes.
    pub(crate) fn flag(&self) -> String {
        self.key.replace(['.', '_'], "-")
    }

    /// Its environment variable.
    pub(crate) fn variable(&self) -> String {
        format!("COV_{}", self.key.to_uppercase().replace('.', "__"))
    }
}

/// The first list, then the second.
const fn all() -> [Setting; OTHERS.len() + limits::LIMITS.len()] {
    let mut all = [const { OTHERS[0] }; OTHERS.len() + limits::LIMITS.len()];
    let mut at = 0;
    while at < all.len() {
        all[at] = if at < OTHERS.len() { OTHERS[at] } else { limits::LIMITS[at - OTHERS.len()] };
        at += 1;
    }
    all
}

/// All settings, in the order of the help text.
pub(crate) const SETTINGS: &[Setting] = &all();

/// The setting with this key.
pub(crate) fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

/// The settings that are no limits.
const OTHERS: [Setting; 24] = [
    Setting {
        key: "listen",
        shape: Shape::Value("ADDRESS"),
        default: "127.0.0.1:48008",
        expects: "an address and a port, such as 127.0.0.1:48008, or unix: and the path of a socket",
        help: "Address and port to listen on, or unix:PATH",
        more: "Port 0 takes a free port; the line that the server prints when it is ready names it. \
               An address that is not of this machine alone also needs `insecure`. The Covalent SDK \
               looks for its server at port 48008 of `localhost`, unless it is configured otherwise. \
               The SDK's own variable `COVALENT_SVC_PORT` is not read. `unix:PATH` makes a socket \
               that only processes of this user can connect to; `cov` and the Rust client take the \
               same address, the SDK needs a port.",
    },
    Setting {
        key: "data_dir",
        shape: Shape::Value("DIR"),
        default: "$XDG_DATA_HOME/cov, or ~/.local/share/cov",
        expects: "a folder that this user may write",
        help: "Folder for everything that is kept: the database and the contents of assets",
        more: "Created if it does not exist. One server at a time uses it; a second one is refused.",
    },
    Setting {
        key: "python",
        shape: Shape::Value("PYTHON"),
        default: "the virtual environment that is active, else python3 on PATH",
        expects: "the path or the name of a Python interpreter",
        help: "Python interpreter that runs the tasks",
        more: "It needs cloudpickle, and covalent for most workflows. Without a usable interpreter \
               the server starts all the same: tasks fail and say what to install.",
    },
    Setting {
        key: "workers",
        shape: Shape::Value("N"),
        default: "the number of processor cores",
        expects: "a number from 1 to 1024",
        help: "How many tasks run at once",
        more: "Each has a Python process of its own, which is kept warm.",
    },
    Setting {
        key: "grace",
        shape: Shape::Value("SECONDS"),
        default: "10",
        expects: "a number of seconds from 0 to 3600",
        help: "How long a stopping server waits for what is under way",
        more: "What is not done by then is taken up again at the next start. Fractions are allowed.",
    },
    Setting {
        key: "on_restart",
        shape: Shape::Value("POLICY"),
        default: "rerun",
        expects: "`rerun` or `fail`",
        help: "What becomes of tasks that were running when the server went down: rerun or fail",
        more: "`rerun` runs them again as a new attempt, so a task may be begun twice. `fail` lets \
               their nodes fail with the fault `lost`. Tasks that had not begun are run either way.",
    },
    Setting {
        key: "cgroups",
        shape: Shape::Value("WHEN"),
        default: "auto",
        expects: "`auto` or `off`",
        help: "Whether runners get cgroups of their own: auto or off",
        more: "With `auto` the server makes one for each runner, below its own, if the system lets it: \
               version 2 of cgroups, Linux 5.14 or newer, and a cgroup that is the server's to change, \
               such as that of a systemd unit with `Delegate=yes`. What a cancelled task started is then \
               killed by the kernel in one go. With `off`, or where that is not so, the processes are \
               looked for one by one. A cancelled task is shown as such when nothing of it is left, \
               either way.",
    },
    Setting {
        key: "dask",
        shape: Shape::Value("ADDRESS"),
        default: "none: such tasks run on the server's own pool",
        expects: "the address of a Dask scheduler, such as tcp://127.0.0.1:8786",
        help: "Dask scheduler for tasks that ask for `dask` and do not say which",
        more: "That is what the SDK's tasks ask for unless their user says otherwise. The Python of \
               the server needs the package `distributed`, in the version of the scheduler.",
    },
    Setting {
        key: "executor_dir",
        shape: Shape::Value("DIR"),
        default: "what the Covalent configuration of the server's user says",
        expects: "a folder with Python files",
        help: "Folder with executor plugins, one Python file each",
        more: "Executor plugins of Covalent that are installed for the server's Python are found \
               without it. `cov executors` shows them all.",
    },
    Setting {
        key: "executor_slots",
        shape: Shape::List("NAME=N"),
        default: "64 for each executor plugin",
        expects: "the short name of an executor plugin, and a number from 1 to 10000: slurm=20",
        help: "How many tasks run at once on an executor plugin",
        more: "The rest waits in this server, where dispatches take turns. In the environment, \
               pairs are separated by commas.",
    },
    Setting {
        key: "no_plugins",
        shape: Shape::Switch,
        default: "false",
        expects: "true or false",
        help: "Host no executor plugins",
        more: "Tasks that ask for one fail and say which executors there are.",
    },
    Setting {
        key: "no_triggers",
        shape: Shape::Switch,
        default: "false",
        expects: "true or false",
        help: "Run no triggers",
        more: "Those that are registered stay as they are and go on with a server that runs them. \
               Requests to register or to stop one are refused.",
    },
    Setting {
        key: "triggers_only",
        shape: Shape::Switch,
        default: "false",
        expects: "true or false",
        help: "Run nothing but triggers, for dispatches of the server that --dispatcher names",
        more: "Needs a data directory of its own.",
    },
    Setting {
        key: "dispatcher",
        shape: Shape::Value("URL"),
        default: "none",
        expects: "an address such as http://127.0.0.1:48008",
        help: "With --triggers-only: the server on which the dispatches are",
        more: "It needs nothing but its native API; its own triggers may run or not.",
    },
    Setting {
        key: "log_format",
        shape: Shape::Value("FORMAT"),
        default: "human",
        expects: "`human` or `json`",
        help: "Form of the log on the error stream: human or json",
        more: "`json` writes one object a line.",
    },
    Setting {
        key: "log_level",
        shape: Shape::Value("LEVEL"),
        default: "info",
        expects: "error, warn, info, debug or trace, or directives such as `info,cov_exec=debug`",
        help: "How much is logged: error, warn, info, debug or trace",
        more: "Directives per crate are possible: `info,cov_exec=debug`.",
    },
    Setting {
        key: "insecure",
        shape: Shape::Switch,
        default: "false",
        expects: "true or false",
        help: "Ask nobody for a token, also on an address that other machines can reach",
        more: "Whoever reaches the server can then run programs as its user: use this only in a \
               network where everybody may do that. Without it, such an address needs a token; \
               `cov-server --create-token NAME` makes the first one.",
    },
    Setting {
        key: "login",
        shape: Shape::Value("WHO"),
        default: "remote",
        expects: "`remote` or `always`",
        help: "Who needs a token: remote or always",
        more: "With `remote`, callers on this machine need none: those who come by loopback, name \
               `localhost` or a loopback address as the host, and were not passed on by a proxy. \
               With `always` they need one too, which suits a machine that several people use, or \
               a proxy that hides where callers come from. A Unix socket is open to whom its file \
               admits, either way.",
    },
    Setting {
        key: "public_url",
        shape: Shape::Value("URL"),
        default: "the address that is listened on",
        expects: "an address such as https://cov.example.org, without a path",
        help: "Where machines that run its tasks reach this server",
        more: "Workers of executors elsewhere (Dask, SSH, Slurm) fetch programs of Rust workflows \
               there. To be given when they run on other machines and the server listens on \
               0.0.0.0, or stands behind a proxy. Requests may name its host, as if it were among \
               `allowed_hosts`.",
    },
    Setting {
        key: "tls_cert",
        shape: Shape::Value("FILE"),
        default: "none",
        expects: "the path of a file with certificates in PEM, the server's own first",
        help: "Certificate for TLS; with it, the address speaks https and nothing else",
        more: "It is read again when it changes, with its key; one that cannot be used is left aside.",
    },
    Setting {
        key: "tls_key",
        shape: Shape::Value("FILE"),
        default: "none",
        expects: "the path of a file with a private key in PEM",
        help: "Private key of the certificate",
        more: "PKCS #8, PKCS #1 and SEC1 are known.",
    },
    Setting {
        key: "audit_days",
        shape: Shape::Value("DAYS"),
        default: "365",
        expects: "a number of days; 0 keeps them for good",
        help: "How long rows of the audit are kept",
        more: "`cov audit` shows them.",
    },
    Setting {
        key: "upgrade_copies",
        shape: Shape::Value("N"),
        default: "2",
        expects: "a number from 0 to 100",
        help: "How many copies of the database from before upgrades are kept; 0 makes none",
        more: "A server of a newer release copies the database before it brings it up to date, to \
               `dispatches.schema-N.sqlite` beside it, where N is the schema of the older release. \
               It needs as much room as the database. Those of the newest schemas are kept.",
    },
    Setting {
        key: "allowed_hosts",
        shape: Shape::List("HOST"),
        default: "none beyond localhost and the address that is listened on",
        expects: "host names without a port, such as dispatch.example.org",
        help: "Further host name by which requests may call the server",
        more: "Requests that name another host are refused, so that no web page can reach the server \
               through a name of its own. In the environment, names are separated by commas.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_derived_from_the_key() {
        let setting = find("limits.manifest_bytes").unwrap();
        assert_eq!(setting.flag(), "limits-manifest-bytes");
        assert_eq!(setting.variable(), "COV_LIMITS__MANIFEST_BYTES");
        assert!(find("limits").is_none());
    }
}
