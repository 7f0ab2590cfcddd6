//! A program that can be a keeper, and is nothing else: the tests of this crate are started by a
//! harness that cannot be one.

fn main() {
    cov_exec::keeper::init();
}
