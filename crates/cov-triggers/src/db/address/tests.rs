//! What connection strings are read as, and which are refused.

use proptest::prelude::*;

use super::*;

fn parsed(text: &str) -> Address {
    Address::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn the_usual_forms_are_read() {
    let address =
        parsed("postgresql+psycopg2://ann:s%40cret%2F@db.example:6432/orders?sslmode=require");
    assert_eq!(address.dialect, Dialect::Postgres);
    assert_eq!(address.user.as_deref(), Some("ann"));
    assert_eq!(address.password.as_deref(), Some("s@cret/"));
    assert_eq!(address.host.as_deref(), Some("db.example"));
    assert_eq!(address.port, Some(6432));
    assert_eq!(address.database, "orders");
    assert_eq!(address.setting(Setting::SslMode), Some("require"));
    let address = parsed("mysql+pymysql://ann@[::1]/orders?charset=utf8mb4&ssl_ca=/ca.pem");
    assert_eq!(address.dialect, Dialect::MySql);
    assert_eq!(address.host.as_deref(), Some("::1"));
    assert_eq!(address.setting(Setting::SslRoot), Some("/ca.pem"));
    assert_eq!(parsed("mariadb+mariadbconnector://h/x").dialect, Dialect::MySql);
    assert_eq!(parsed("postgresql://ann:pw@h").database, "");
    assert_eq!(parsed("postgresql://ann:@h/d").password.as_deref(), Some(""));
    assert_eq!(parsed("postgresql:///d?host=/run/pg").setting(Setting::Socket), Some("/run/pg"));
    assert_eq!(parsed("postgresql+asyncpg://h/d").dialect, Dialect::Postgres);
    assert_eq!(parsed("postgresql://user@host:pw@h/d").user.as_deref(), Some("user@host"));
}

#[test]
fn paths_of_sqlite_are_absolute_with_four_slashes() {
    assert_eq!(parsed("sqlite:////var/lib/x.db").path(), PathBuf::from("/var/lib/x.db"));
    assert_eq!(parsed("sqlite:///below/x.db").path(), PathBuf::from("below/x.db"));
    assert_eq!(parsed("sqlite+pysqlite:///x.db?check_same_thread=False").database, "x.db");
    assert_eq!(Address::file("/x y/%20.db").unwrap().database, "/x y/%20.db");
}

#[test]
fn what_cannot_be_spoken_is_refused_with_what_can() {
    for text in ["oracle://h/d", "mssql+pyodbc://h/d", "snowflake://h", "mysql+pyodbc://h/d"] {
        let error = Address::parse(text).unwrap_err().to_string();
        assert!(error.contains("known are sqlite, postgresql, mysql, mariadb"), "{error}");
        assert!(error.contains(text.split(':').next().unwrap()), "{error}");
    }
}

#[test]
fn what_would_be_ignored_or_never_work_is_refused() {
    let refused = [
        ("x.db", "no connection string"),
        ("", "no connection string"),
        ("://h", "no connection string"),
        ("postgresql://h:port/d", "port"),
        ("postgresql://h:99999/d", "port"),
        ("postgresql://[::1/d", "no connection string"),
        ("postgresql://h/d?sslmode=perhaps", "TLS mode"),
        ("postgresql://h/d?target_session_attrs=any", "target_session_attrs"),
        ("postgresql://h/d?host=a,b", "host"),
        ("mysql://h/d?init_command=DROP", "init_command"),
        ("mysql://h/d?charset=latin1", "charset"),
        ("mysql://u:%FF@h/d", "password"),
        ("sqlite://", "no file"),
        ("sqlite:///:memory:", "no file"),
        ("sqlite://x.db", "three slashes"),
        ("sqlite:///file:x.db?mode=ro", "mode"),
        ("sqlite:///file:x.db", "URI"),
    ];
    for (text, reason) in refused {
        let error = Address::parse(text).unwrap_err().to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn a_password_is_never_shown() {
    let address = parsed("postgresql://ann:hunter2@h/d");
    assert!(!format!("{address:?}").contains("hunter2"));
    for text in
        ["oracle://ann:hunter2@h", "postgresql://ann:hunter2@h:x/d", "postgresql:/ann:hunter2@h"]
    {
        let error = Address::parse(text).unwrap_err();
        assert!(!format!("{error:?} {error}").contains("hunter2"), "{error}");
    }
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".{0,80}") {
        drop(Address::parse(&text));
        drop(Address::parse(&format!("postgresql://{text}")));
        drop(Address::parse(&format!("sqlite:///{text}")));
    }

    #[test]
    fn any_user_and_password_survive(
        user in "[^\0]{1,20}",
        password in "[^\0]{0,20}",
        host in "[a-z0-9.-]{1,20}",
        port in 1_u16..,
        database in "[a-zA-Z0-9_-]{0,20}",
    ) {
        let (user_text, password_text) = (escaped(&user), escaped(&password));
        let text = format!("mysql://{user_text}:{password_text}@{host}:{port}/{database}");
        let address = parsed(&text);
        prop_assert_eq!(address.user, Some(user));
        prop_assert_eq!(address.password, Some(password));
        prop_assert_eq!(address.host, Some(host));
        prop_assert_eq!(address.port, Some(port));
        prop_assert_eq!(address.database, database);
    }
}
