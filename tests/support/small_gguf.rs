//! A GGUF file of 3 KB that is a whole model: what a fuzzer changes in it is nearly always looked at.

/// Numbers of GGUF's types.
const U32: u32 = 4;
const F32: u32 = 6;
const TEXT: u32 = 8;
const ARRAY: u32 = 9;

/// The size of everything in the model.
const WIDTH: u64 = 8;

const TOKENS: [&str; 6] = ["<unk>", "<s>", "</s>", "a", "b", "ab"];

#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
    count: u64,
}

impl Writer {
    fn text(&mut self, text: &str) {
        self.bytes.extend((text.len() as u64).to_le_bytes());
        self.bytes.extend(text.as_bytes());
    }

    fn number(&mut self, number: u32) {
        self.bytes.extend(number.to_le_bytes());
    }

    fn key(&mut self, key: &str, kind: u32) {
        self.count += 1;
        self.text(key);
        self.number(kind);
    }

    fn array(&mut self, key: &str, kind: u32, count: usize) {
        self.key(key, ARRAY);
        self.number(kind);
        self.bytes.extend((count as u64).to_le_bytes());
    }

    fn tensor(&mut self, name: &str, shape: &[u64], offset: u64) {
        self.count += 1;
        self.text(name);
        self.number(shape.len() as u32);
        shape.iter().for_each(|length| self.bytes.extend(length.to_le_bytes()));
        // Of 32-bit floats.
        self.number(0);
        self.bytes.extend(offset.to_le_bytes());
    }
}

fn keys() -> Writer {
    let mut keys = Writer::default();
    for (key, value) in [
        ("general.architecture", "llama"),
        ("tokenizer.ggml.model", "gpt2"),
        ("tokenizer.ggml.pre", "llama-bpe"),
        ("tokenizer.chat_template", "{{ messages[0].content }}"),
    ] {
        keys.key(key, TEXT);
        keys.text(value);
    }
    for (key, value) in [
        ("llama.block_count", 1),
        ("llama.context_length", 64),
        ("llama.embedding_length", WIDTH as u32),
        ("llama.feed_forward_length", WIDTH as u32),
        ("llama.attention.head_count", 2),
        ("llama.attention.head_count_kv", 2),
        ("llama.vocab_size", TOKENS.len() as u32),
        ("tokenizer.ggml.bos_token_id", 1),
        ("tokenizer.ggml.eos_token_id", 2),
    ] {
        keys.key(key, U32);
        keys.number(value);
    }
    for (key, value) in [("llama.attention.layer_norm_rms_epsilon", 1e-5f32), ("llama.rope.freq_base", 10_000.0)] {
        keys.key(key, F32);
        keys.number(value.to_bits());
    }
    keys.array("tokenizer.ggml.tokens", TEXT, TOKENS.len());
    TOKENS.iter().for_each(|token| keys.text(token));
    keys.array("tokenizer.ggml.token_type", 5, TOKENS.len());
    [2, 3, 3, 1, 1, 1].iter().for_each(|&kind| keys.number(kind));
    keys.array("tokenizer.ggml.merges", TEXT, 1);
    keys.text("a b");
    keys
}

/// The file.
pub fn small_gguf() -> Vec<u8> {
    let square = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];
    let square = square.iter().map(|name| (format!("blk.0.{name}.weight"), vec![WIDTH, WIDTH]));
    let norms = ["blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"];
    let norms = norms.iter().map(|name| (name.to_string(), vec![WIDTH]));
    let embedding = ("token_embd.weight".to_string(), vec![WIDTH, TOKENS.len() as u64]);
    let (mut tensors, mut offset) = (Writer::default(), 0);
    for (name, shape) in std::iter::once(embedding).chain(norms).chain(square) {
        tensors.tensor(&name, &shape, offset);
        // A multiple of the alignment.
        offset += 4 * shape.iter().product::<u64>();
    }
    let keys = keys();
    let mut file = b"GGUF".to_vec();
    file.extend(3u32.to_le_bytes());
    file.extend(tensors.count.to_le_bytes());
    file.extend(keys.count.to_le_bytes());
    file.extend(keys.bytes);
    file.extend(tensors.bytes);
    file.resize(file.len().next_multiple_of(32) + offset as usize, 0);
    file
}
