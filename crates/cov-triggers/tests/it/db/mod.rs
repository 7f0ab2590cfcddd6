//! `SQLiteTrigger` and `DatabaseTrigger` on real databases: SQLite always, PostgreSQL and MySQL
//! or MariaDB where `COV_TEST_POSTGRES_URL` and `COV_TEST_MYSQL_URL` say where they are.

mod conformance;
mod edge;
mod level;
pub(crate) mod place;
mod read_only;
mod registration;
mod trouble;
