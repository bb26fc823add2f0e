//! Valid files, broken at random: what a disk, a download or an enemy makes of them.

use std::fs;

use super::fixture;
use super::small_gguf::small_gguf;

/// Pieces that mean something in one of the formats.
const WORDS: [&[u8]; 24] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b",",
    b":",
    b"null",
    b"-1",
    b"1e999",
    b"18446744073709551615",
    b"\\u0000",
    b"{{",
    b"}}",
    b"{% for x in messages %}",
    b"{% endfor %}",
    b"__metadata__",
    b"data_offsets",
    b"F32",
    b"GGUF",
    b"lora_A",
    b".layers.9.",
    b"\n",
    b"\xff\xfe",
];

const NUMBERS: [u64; 9] = [0, 1, 7, 255, 1 << 16, u32::MAX as u64, 1 << 32, 1 << 60, u64::MAX];

/// Changes some bytes, at most eight times.
pub fn mutate(mut bytes: Vec<u8>, seeds: &[Vec<u8>], random: &mut fastrand::Rng) -> Vec<u8> {
    for _ in 0..random.usize(1..=8) {
        let at = random.usize(0..=bytes.len());
        // Headers are at the beginning.
        let at = if random.bool() { at.min(random.usize(0..256)) } else { at };
        let end = (at + 1 + random.usize(0..64)).min(bytes.len());
        match random.u8(0..9) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.u8(0..8),
            1 if at < bytes.len() => bytes[at] = random.u8(..),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            4 => {
                let word = WORDS[random.usize(0..WORDS.len())];
                bytes.splice(at..at, word.iter().copied());
            }
            5 => {
                let (number, width) = (NUMBERS[random.usize(0..NUMBERS.len())].to_le_bytes(), 1 << random.usize(0..4));
                let end = (at + width).min(bytes.len());
                bytes.splice(at..end, number[..width].iter().copied());
            }
            6 => {
                // Another number where one is.
                if let Some(start) = (at..bytes.len()).find(|&place| bytes[place].is_ascii_digit()) {
                    let digits = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                    let number = NUMBERS[random.usize(0..NUMBERS.len())].to_string();
                    bytes.splice(start..start + digits, number.into_bytes());
                }
            }
            7 => bytes.truncate(at),
            _ => {
                let other = &seeds[random.usize(0..seeds.len())];
                let from = random.usize(0..=other.len());
                let piece = other[from..(from + random.usize(0..512)).min(other.len())].to_vec();
                bytes.splice(at..end, piece);
            }
        }
    }
    bytes
}

const MANIFEST: &str = r#"{"adapter": "in/b", "samples": "s.jsonl", "options": {"chat": true, "margin": "2%", "metric": ["f1", "rouge-l"], "max-layers": 20}}
{"adapter": "in/a", "output": "team/a", "base": "org/base", "options": {"rank": "auto", "controls": false}}
{"adapter": "in/c", "options": {"boundary": 7, "dtype": "bf16", "test": ["a.jsonl", "b.jsonl"]}}
"#;

const RESULTS: &str = r#"{"name":"a","adapter":"in/a","status":"done","exit_code":0,"boundary":3,"layers":6,"kept_layers":3,"bytes_before":2000,"bytes_after":1000,"loss_base":2.5,"loss_whole":0.1,"loss":0.25,"gain_kept":0.98,"warnings":[{"code":"few-samples","sentence":"Only 3 samples"}],"page":"a.html","stamp":"12ab","files":["a/adapter_config.json","a.html"],"written":"34cd","content":"56ef"}
{"name":"team/b","adapter":"in/b","status":"failed","exit_code":3,"error":"`in/b` has no \u202e weights","hint":"save it again","stamp":"78"}
{"name":"c","adapter":"in/c","status":"refused","exit_code":5,"layers":6,"stamp":"90","removed":true}
"#;

const CONFIG_FILES: [&str; 2] = [
    r#"chat = true
margin = "2%"

[slim]
base = "../base"
max-layers = 20
metric = ["f1", "rouge-l"]
samples = ["a.jsonl", 'b.jsonl']
"#,
    r#"force = true
[batch]
rank = "auto" # a remark
controls = false
boundary = 0x7
test = """
x"""
[cut]
dtype = "bf16"
"#,
];

/// Valid inputs of a target.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let read = |name: &str| fs::read(fixture(name)).unwrap();
    let kinds =
        ["bare", "dora", "regex", "rank-alpha-patterns", "trainable-tokens", "adalora", "lokr", "vera", "bias-all"];
    let weights = |kind: &str| read(&format!("kinds/{kind}/adapter_model.safetensors"));
    let config = |kind: &str| read(&format!("kinds/{kind}/adapter_config.json"));
    match target {
        "safetensors" => {
            let header = |bytes: Vec<u8>| {
                let end = bytes.iter().rposition(|&byte| byte == b'}').unwrap_or(0).min(1500);
                bytes[8..=end.max(8)].to_vec()
            };
            kinds.iter().flat_map(|kind| [weights(kind), header(weights(kind))]).chain([br#"{"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}"#.to_vec()]).collect()
        }
        "gguf" => vec![small_gguf(), read("pico/llama-gguf/base/base.gguf")],
        "pickle" => vec![
            b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01(X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\nq\x02((X\x07\x00\x00\x00storageq\x03ctorch\nFloatStorage\nq\x04X\x01\x00\x00\x000q\x05X\x03\x00\x00\x00cpuq\x06K\x08tq\x07QK\x00K\x04K\x02\x86K\x02K\x01\x86\x89h\x00)RtRu.".to_vec(),
        ],
        "adapter_keys" => vec![
            kinds.iter().flat_map(|kind| {
                let bytes = weights(kind);
                let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
                tensors.names().into_iter().map(|name| format!("{name}\n")).collect::<String>().into_bytes()
            }).collect(),
        ],
        "adapter" => {
            let folder = |kind: &&str| {
                let config = config(kind);
                [&(config.len() as u16).to_le_bytes(), &config[..], &weights(kind)].concat()
            };
            kinds.iter().map(folder).collect()
        }
        "adapter_config" => kinds.iter().map(|kind| config(kind)).collect(),
        "model_config" => {
            let models = ["llama-llama3-rope", "llama-yarn", "phi3-longrope", "gemma3", "gpt-oss", "qwen3-moe", "llava", "bloom"];
            models.iter().map(|model| read(&format!("pico/{model}/base/config.json"))).collect()
        }
        "samples" => {
            let files = ["text/alpaca.jsonl", "text/messages.jsonl", "text/prompt_completion.jsonl", "text/qa.json", "text/text.jsonl", "samples.tokens.jsonl"];
            let tables = ["table.parquet", "nested.parquet", "json.parquet", "table.arrow", "nested/data-00000-of-00001.arrow", "json/data-00000-of-00001.arrow", "lines.jsonl.gz", "lines.jsonl.zst", "data.json", "pretty.json", "utf16.jsonl"];
            let tables = tables.iter().map(|file| read(&format!("forms/containers/{file}")));
            files.iter().map(|file| read(&format!("pico/{file}"))).chain(tables).collect()
        }
        "template" => vec![
            b"{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] | trim + ' [/INST]' }}{% elif loop.last %}{{ message.content }}{{ eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}".to_vec(),
            b"{%- set ns = namespace(found=false) %}{%- macro f(a, b=1) %}{{ a ~ b }}{%- endmacro %}{{ messages | tojson(indent=2) }}{{ f(messages[0].content.strip().split(',')[0]) }}{{ raise_exception('no') if messages | length > 5 }}".to_vec(),
        ],
        "template_grammar" => vec![(0..200).map(|at| (at * 37 % 251) as u8).collect(), (0..80).map(|at| at * 3).collect()],
        "tokenizer" => vec![read("pico/tokenizer/tokenizer.json"), read("trl/bytes/tokenizer.json")],
        "encoding" => vec!["Hi there,\r\n  né 12,345 — 中文。 👍🏽 don't ".repeat(3).into_bytes(), b"<|im_start|>user\n".to_vec()],
        "manifest" => vec![MANIFEST.as_bytes().to_vec()],
        "results" => {
            let lines: Vec<&str> = RESULTS.split_inclusive('\n').collect();
            [RESULTS, lines[1], &lines[2][..60]].map(|text| text.as_bytes().to_vec()).to_vec()
        }
        "config_file" => CONFIG_FILES.iter().map(|text| text.as_bytes().to_vec()).collect(),
        other => panic!("no seeds for {other}"),
    }
}
