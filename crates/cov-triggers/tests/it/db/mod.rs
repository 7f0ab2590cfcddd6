//! `SQLiteTrigger` and `DatabaseTrigger` on real databases: SQLite always, PostgreSQL and MySQL
//! or MariaDB where `COV_TEST_POSTGRES_URL` and `COV_TEST_MYSQL_URL` say where they are.

mod edge;
mod level;
mod place;
mod read_only;
mod registration;
mod trouble;
