//! Executors, run with a real Python: `COV_TEST_PYTHON` names it, else `python3` on PATH.

mod conformance;
mod hooks;
mod interpreter;
mod processes;
mod support;
mod surroundings;
mod values;
