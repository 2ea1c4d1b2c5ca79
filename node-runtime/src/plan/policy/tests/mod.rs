//! Plans against the plain evaluator, at random; updates; refusals.

mod any_kernel;
mod differential;
mod examples;
mod limits;
mod random;
mod refusals;
mod small_kernel;
mod spec;
mod updates;
