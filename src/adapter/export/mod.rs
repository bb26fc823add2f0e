//! Other forms of an adapter than PEFT's folder, for runtimes that read no such folder.

use std::fmt;

/// The form in which an adapter is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Format {
    /// A PEFT folder: adapter_config.json and adapter_model.safetensors
    Peft,
    /// A LoRA GGUF file, for llama.cpp and Ollama
    Gguf,
    /// An MLX-LM folder: adapter_config.json and adapters.safetensors
    Mlx,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Peft => "peft",
            Format::Gguf => "gguf",
            Format::Mlx => "mlx",
        })
    }
}
