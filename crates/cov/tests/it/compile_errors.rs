//! Misuse does not compile, and the error points at it.

#[test]
fn misuse_is_told_where_it_is() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
