//! What can go wrong, in the words the user reads.
//!
//! Each phase of the program has its file here, with an enum of its errors and, side by side, each error's message, kind and
//! hint. To add an error, edit that file alone.
//!
//! A message is one sentence that names the path or the value at fault. A [`hint`](Error::hint) says what to do about it, on a
//! line of its own. The [`kind`](Error::kind) decides the exit code, so that a pipeline can tell an input that will never work
//! from a disk that may work in a minute.

mod adapter;
mod base;
mod batch;
mod choice;
mod compute;
mod config;
mod file;
mod fix;
mod gate;
mod hub;
mod kind;
mod metric;
mod page;
mod push;
mod sample;
mod tensor;

pub use adapter::{AdapterError, NoTensors};
pub use base::{BaseError, NameForm, Sought};
pub use batch::BatchError;
pub use choice::ChoiceError;
pub use compute::ComputeError;
pub use config::ConfigError;
pub use file::FileError;
pub use fix::FixError;
pub use gate::GateError;
pub use hub::HubError;
pub use kind::Kind;
pub use metric::MetricError;
pub use page::PageError;
pub use push::PushError;
pub use sample::SampleError;
pub use tensor::TensorError;

/// The result of every fallible function of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Declares [`Error`], the sum of the errors of all phases, which it asks for their kinds and hints.
macro_rules! phases {
    ($($phase:ident($error:ident),)*) => {
        /// Any failure of this crate.
        #[derive(Debug, thiserror::Error)]
        pub enum Error {
            $(
                #[doc = concat!("See [`", stringify!($error), "`].")]
                #[error(transparent)]
                $phase(#[from] $error),
            )*
        }

        impl Error {
            /// What kind of failure this is, which decides the exit code.
            pub fn kind(&self) -> Kind {
                match self { $(Error::$phase(error) => error.kind(),)* }
            }

            /// What the user can do about it, where there is something to do.
            pub fn hint(&self) -> Option<String> {
                match self { $(Error::$phase(error) => error.hint(),)* }
            }
        }
    };
}

phases! {
    File(FileError),
    Tensor(TensorError),
    Adapter(AdapterError),
    Fix(FixError),
    Base(BaseError),
    Hub(HubError),
    Sample(SampleError),
    Compute(ComputeError),
    Choice(ChoiceError),
    Metric(MetricError),
    Batch(BatchError),
    Gate(GateError),
    Config(ConfigError),
    Page(PageError),
    Push(PushError),
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        ComputeError::TensorOperation(error).into()
    }
}

impl Error {
    /// The same error about `adapter`. Steps rewrite temporary copies of an adapter, and a message must not name a folder that is
    /// gone by the time the user reads it.
    pub fn about(mut self, adapter: &std::path::Path) -> Self {
        let path = match &mut self {
            Error::Adapter(error) => error.path_of_step(),
            Error::Tensor(TensorError::NotFinite { path, .. } | TensorError::Dtype { path, .. }) => Some(path),
            _ => None,
        };
        if let Some(path) = path {
            *path = adapter.into();
        }
        self
    }

    /// The same error about the samples of `file`. Measuring knows no paths, so the caller adds them.
    pub fn on_samples(mut self, file: &std::path::Path) -> Self {
        use ComputeError::{NotFinite, NotFiniteBehind};
        if let Error::Compute(NotFinite { samples, .. } | NotFiniteBehind { samples, .. }) = &mut self {
            *samples = file.into();
        }
        self
    }
}
