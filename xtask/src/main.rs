//! Entry point of the project's own commands.

fn main() {}
