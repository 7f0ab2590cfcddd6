//! Executors, run with a real Python: `COV_TEST_PYTHON` names it, else `python3` on PATH.

#[cfg(test)]
mod ahead;
#[cfg(test)]
mod commands;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod dask;
#[cfg(test)]
mod endings;
#[cfg(test)]
mod hooks;
#[cfg(test)]
mod host;
#[cfg(test)]
mod interpreter;
#[cfg(test)]
mod keeper;
#[cfg(test)]
mod languages;
#[cfg(test)]
mod managed;
#[cfg(test)]
mod plugins;
#[cfg(test)]
mod processes;
#[cfg(test)]
mod programs;
#[cfg(test)]
mod support;
#[cfg(test)]
mod surroundings;
#[cfg(test)]
mod values;
