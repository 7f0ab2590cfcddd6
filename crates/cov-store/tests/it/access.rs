//! Tokens, keys and the audit: what is acknowledged is there after the store is opened again.

use cov_core::access::Scope;
use cov_core::time::Timestamp;
use cov_store::access::{AuditEntry, AuditQuery, TokenChange, TokenOutcome, TokenRecord};
use cov_store::{AccessStore, SqliteStore};

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000)
}

fn entry(action: &str, target: &str, second: i64) -> AuditEntry {
    AuditEntry {
        at: at(second),
        who: "local".into(),
        origin: "127.0.0.1".into(),
        action: action.into(),
        target: target.into(),
        status: 200,
        request: "r-1".into(),
    }
}

fn token(name: &str) -> TokenRecord {
    TokenRecord {
        id: format!("id-{name}"),
        name: name.into(),
        hash: [7; 32],
        scope: Scope::Dispatch,
        created_at: at(1),
        rotated_at: None,
        expires_at: Some(at(100)),
        revoked_at: None,
    }
}

#[tokio::test]
async fn tokens_are_made_rotated_and_revoked_each_with_its_row_of_the_audit() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).await.unwrap();
    let create = TokenChange::Create(token("ci"));
    let made = store.change_token(&create, &entry("token.create", "ci", 1)).await.unwrap();
    assert_eq!(made, TokenOutcome::Done(token("ci")));
    let again = store.change_token(&create, &entry("token.create", "ci", 2)).await.unwrap();
    assert_eq!(again, TokenOutcome::Exists);
    let rotate = |name: &str| TokenChange::Rotate {
        name: name.into(),
        id: "other".into(),
        hash: [8; 32],
        at: at(3),
        expires_at: None,
    };
    let unknown = store.change_token(&rotate("x"), &entry("token.rotate", "x", 3)).await.unwrap();
    assert_eq!(unknown, TokenOutcome::Unknown);
    store.change_token(&rotate("ci"), &entry("token.rotate", "ci", 3)).await.unwrap();
    drop(store);

    let store = SqliteStore::open(folder.path()).await.unwrap();
    let rotated =
        TokenRecord { id: "other".into(), hash: [8; 32], rotated_at: Some(at(3)), ..token("ci") };
    assert_eq!(store.tokens().await.unwrap(), std::slice::from_ref(&rotated));
    let revoke = TokenChange::Revoke { name: "ci".into(), at: at(4) };
    let revoked = store.change_token(&revoke, &entry("token.revoke", "ci", 4)).await.unwrap();
    let expected = TokenRecord { revoked_at: Some(at(4)), ..rotated };
    assert_eq!(revoked, TokenOutcome::Done(expected));
    let twice = store.change_token(&revoke, &entry("token.revoke", "ci", 5)).await.unwrap();
    assert_eq!(twice, TokenOutcome::Unknown, "a revoked token is gone for good");
    let page = store.audit(&AuditQuery { limit: 10, ..AuditQuery::default() }).await.unwrap();
    let actions: Vec<_> = page.entries.iter().map(|(_, row)| row.action.as_str()).collect();
    assert_eq!(actions, ["token.revoke", "token.rotate", "token.create"]);
}

#[tokio::test]
async fn the_audit_is_read_page_by_page_filtered_and_purged() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).await.unwrap();
    let rows: Vec<_> = (1..=5).map(|n| entry("dispatch.start", &format!("d-{n}"), n)).collect();
    store.write_audit(&rows).await.unwrap();
    store.write_audit(&[entry("purge", "", 6)]).await.unwrap();
    let ask = |before, action: Option<&str>| AuditQuery {
        before,
        action: action.map(str::to_owned),
        limit: 2,
        ..AuditQuery::default()
    };
    let targets = |page: &cov_store::access::AuditPage| {
        page.entries.iter().map(|(_, row)| row.target.clone()).collect::<Vec<_>>()
    };
    let first = store.audit(&ask(None, Some("dispatch.start"))).await.unwrap();
    assert_eq!(targets(&first), ["d-5", "d-4"]);
    let second = store.audit(&ask(first.next, Some("dispatch.start"))).await.unwrap();
    assert_eq!(targets(&second), ["d-3", "d-2"]);
    let last = store.audit(&ask(second.next, Some("dispatch.start"))).await.unwrap();
    assert_eq!((targets(&last), last.next), (vec!["d-1".to_owned()], None));
    assert_eq!(last.entries[0].1, rows[0]);
    assert_eq!(store.purge_audit(at(5)).await.unwrap(), 4);
    assert_eq!(targets(&store.audit(&ask(None, None)).await.unwrap()), ["", "d-5"]);
}

#[tokio::test]
async fn a_key_of_the_server_is_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).await.unwrap();
    assert_eq!(store.server_key("addresses", [1; 32]).await.unwrap(), [1; 32]);
    drop(store);
    let store = SqliteStore::open(folder.path()).await.unwrap();
    assert_eq!(store.server_key("addresses", [2; 32]).await.unwrap(), [1; 32]);
    assert_eq!(store.server_key("other", [2; 32]).await.unwrap(), [2; 32]);
}

#[tokio::test]
async fn what_is_used_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).await.unwrap();
    let before = store.usage().await.unwrap();
    assert!(before.database > 0 && before.free > 0);
    std::fs::create_dir_all(folder.path().join("contents/ab")).unwrap();
    std::fs::write(folder.path().join("contents/ab/x"), [0; 5000]).unwrap();
    let after = store.usage().await.unwrap();
    assert_eq!(after.contents, before.contents + 5000);
    assert_eq!(store.usage_without_contents().await.unwrap().contents, 0);
}
