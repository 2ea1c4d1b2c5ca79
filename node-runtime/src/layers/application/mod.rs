//! Application: where the selected pods spend their CPU time, for a time.

pub mod code;
mod layer;
pub mod profiles;
pub mod results;
pub mod sampler;
pub mod session;
mod worker_process;

pub use layer::Application;
pub use profiles::Profiles;
pub use results::{Counted, Meta, Results};
pub use session::{Belongs, Live, Session, SessionSpec, Subject};
