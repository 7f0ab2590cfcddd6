//! The database triggers pass the suite of all trigger types, on each database.

use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use cov_core::trigger::{Dictionary, TriggerId};
use cov_triggers::conformance::Fixture;
use cov_triggers::{Triggers, trigger_conformance};
use serde_json::{Value, json};

use super::place::{Kind, Place, places};

struct Rows {
    place: Place,
    edge: bool,
    number: AtomicU32,
}

impl Rows {
    /// On that database; on SQLite where it is not at hand.
    async fn on(kind: Kind, edge: bool) -> Self {
        let mut places = places().await;
        let at = places.iter().position(|place| place.kind == kind).unwrap_or(0);
        let place = places.swap_remove(at);
        for other in places {
            other.remove().await;
        }
        place.run("CREATE TABLE orders (id INT)").await;
        Self { place, edge, number: AtomicU32::new(0) }
    }
}

#[async_trait]
impl Fixture for Rows {
    fn dictionary(&self) -> Dictionary {
        let mut fields = json!({
            "name": "DatabaseTrigger", "db_path": self.place.sqlalchemy(), "table_name": "orders",
            "poll_interval": 0.02, "where_clauses": ["id >= 0"], "trigger_after_n": 1,
        });
        let fields = fields.as_object_mut().unwrap();
        if self.edge {
            fields.insert("cursor_column".to_owned(), "id".into());
        }
        fields.clone()
    }

    fn wrong(&self) -> (&'static str, Value) {
        ("db_path", json!("oracle://h/d"))
    }

    async fn cause(&self, _triggers: &Triggers, _trigger: &TriggerId) {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        self.place.run(&format!("INSERT INTO orders VALUES ({number})")).await;
    }

    fn remembers(&self) -> bool {
        self.edge
    }
}

trigger_conformance!(sqlite_level, #[tokio::test], Rows::on(Kind::Sqlite, false).await);
trigger_conformance!(sqlite_edge, #[tokio::test], Rows::on(Kind::Sqlite, true).await);
trigger_conformance!(postgres_level, #[tokio::test], Rows::on(Kind::Postgres, false).await);
trigger_conformance!(postgres_edge, #[tokio::test], Rows::on(Kind::Postgres, true).await);
trigger_conformance!(mysql_level, #[tokio::test], Rows::on(Kind::MySql, false).await);
trigger_conformance!(mysql_edge, #[tokio::test], Rows::on(Kind::MySql, true).await);
