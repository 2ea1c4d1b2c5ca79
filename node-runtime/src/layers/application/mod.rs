//! Application: where the selected pods spend their CPU time, for a time.

pub mod code;
mod driver;
mod layer;
mod left;
mod looks;
mod making;
pub mod profiles;
pub mod results;
pub mod sampler;
pub mod session;
mod tally;
mod worker_process;

pub use layer::Application;
pub use profiles::Profiles;
pub use results::{Counted, Meta, Results};
pub use session::{Belongs, Live, Session, SessionSpec, Subject};
