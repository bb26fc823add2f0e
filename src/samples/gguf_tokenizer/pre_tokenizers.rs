//! How byte-level tokenizers split text before the merges. A GGUF file has only the name of the way (`tokenizer.ggml.pre`); the
//! table here spells each name out, as llama.cpp does in `src/llama-vocab.cpp`.
//!
//! llama.cpp reads Unicode's categories in its own way, and these expressions say what it computes. Where it has `\s`, a space that
//! is not ASCII counts, but not in a range of characters; where it tells upper case from lower case, it does so for ASCII only.
//! `scripts/check/gguf_tokenizers.py` compares all of them with llama.cpp.

/// A way to split text, and what llama.cpp's code, not the file, says of tokenizers that use it.
#[derive(Debug)]
pub struct PreTokenizer {
    /// What files call it.
    names: &'static [&'static str],
    /// Regular expressions that are applied one after the other, each to the pieces that the one before has left. Matches, and what
    /// lies between them, become pieces.
    pub splits: &'static [&'static str],
    pub traits: Traits,
}

/// What a name says beside the splits.
#[derive(Debug, Clone, Copy, Default)]
pub struct Traits {
    /// A piece that is in the vocabulary is a token, whatever the merges make of it.
    pub ignores_merges: bool,
    /// Text begins with the begin token, unless the file says otherwise.
    pub begins: bool,
}

const PLAIN: Traits = Traits { ignores_merges: false, begins: false };
const WHOLE: Traits = Traits { ignores_merges: true, begins: false };
const WHOLE_AND_BEGUN: Traits = Traits { ignores_merges: true, begins: true };
const BEGUN: Traits = Traits { ignores_merges: false, begins: true };

/// English contractions: 's, 't, 'll and the like.
macro_rules! contraction {
    () => {
        r"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])"
    };
}

/// What most expressions end with: line ends with the space before them, then space, of which the last stays with the next word.
macro_rules! space {
    () => {
        r"\s*[\r\n]+|\s+(?!\S)|\s+"
    };
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str =
    concat!(contraction!(), r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|", space!());
const QWEN2: &str = concat!(contraction!(), r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|", space!());
const QWEN35: &str =
    concat!(contraction!(), r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|", space!());
const UFAKZEKA: &str = concat!(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|", space!());
const MINICPM5: &str =
    concat!(contraction!(), r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|", space!());
const SEED_CODER: &str = concat!(contraction!(), r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|", space!());
const BAILING: &str =
    concat!(contraction!(), r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+");
const EXAONE_MOE: &str = concat!(
    contraction!(),
    r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"
);
const JAIS2: &str = concat!(
    contraction!(),
    r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+",
    r"|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s"
);
const TEKKEN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]*[\p{L}&&[^A-Z]]+|[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]+[\p{L}&&[^A-Z]]*",
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|",
    space!()
);
const GPT4O: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]*[\p{L}&&[^A-Z]]+(?:",
    contraction!(),
    r")?|[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]+[\p{L}&&[^A-Z]]*(?:",
    contraction!(),
    r")?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|",
    space!()
);
const GRANITE_EMBEDDING: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}&&[^a-z]]*[\p{L}\p{M}&&[^A-Z]]+(?:",
    contraction!(),
    r")?|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}&&[^a-z]]+[\p{L}\p{M}&&[^A-Z]]*(?:",
    contraction!(),
    r")?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|",
    space!()
);
const TINY_AYA: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+(?:",
    contraction!(),
    r")?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|",
    space!()
);
const YOUTU: &str =
    concat!(r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+(?:", contraction!(), r")?|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|", space!());
const DEEPSEEK3: &str =
    concat!(r"[!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|", space!());
const SPARK: &str =
    r"[!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+";
/// Han characters have pieces of their own.
const KIMI: &str = concat!(
    r"[\x{4e00}-\x{9fff}\x{3400}-\x{4dbf}\x{20000}-\x{2a6df}\x{2a700}-\x{2ebef}\x{f900}-\x{faff}\x{2f800}-\x{2fa1f}]+",
    r"|[^\r\n\p{L}\p{N}]?",
    r"[\p{L}&&[^\x{4e00}-\x{9fff}\x{3400}-\x{4dbf}\x{20000}-\x{2a6df}\x{2a700}-\x{2ebef}\x{f900}-\x{faff}\x{2f800}-\x{2fa1f}]]+",
    r"(?:",
    contraction!(),
    r")?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|",
    space!()
);
/// Words of scripts with spaces. The full stops of Chinese, Hindi, Urdu and Arabic end them as ours do.
const BLOOM: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";
/// Chinese characters and Japanese syllables.
const CJK: &str = r"[\x{4e00}-\x{9fa5}\x{3040}-\x{309f}\x{30a0}-\x{30ff}]+";
/// DeepSeek's first models have this range, which begins long before the Chinese characters. Spaces in it do not count.
const DEEPSEEK_CJK: &str = r"[\x{800}-\x{9fa5}\x{ac00}-\x{d7ff}&&[^\s]]+";
/// The letters that have two cases, of the scripts that DeepSeek's first model names.
const DEEPSEEK_WORDS: &str = concat!(
    r"\s?[A-Za-z\x{b5}\x{c0}-\x{d6}\x{d8}-\x{f6}\x{f8}-\x{1ba}\x{1bc}-\x{1bf}\x{1c4}-\x{293}\x{295}-\x{2af}\x{370}-\x{373}\x{376}",
    r"\x{377}\x{37b}-\x{37d}\x{37f}\x{386}\x{388}-\x{38a}\x{38c}\x{38e}-\x{3a1}\x{3a3}-\x{3f5}\x{3f7}-\x{481}\x{48a}-\x{52f}",
    r"\x{531}-\x{556}\x{10a0}-\x{10c5}\x{13a0}-\x{13f5}\x{13f8}-\x{13fd}\x{1c90}-\x{1cba}\x{1cbd}-\x{1cbf}\x{1d00}-\x{1d2b}",
    r"\x{1d6b}-\x{1d77}\x{1d79}-\x{1d9a}\x{1e00}-\x{1f15}\x{1f18}-\x{1f1d}\x{1f20}-\x{1f45}\x{1f48}-\x{1f4d}\x{1f50}-\x{1f57}",
    r"\x{1f59}\x{1f5b}\x{1f5d}\x{1f5f}-\x{1f7d}\x{1f80}-\x{1fb4}\x{1fb6}-\x{1fbc}\x{1fbe}\x{1fc2}-\x{1fc4}\x{1fc6}-\x{1fcc}",
    r"\x{1fd0}-\x{1fd3}\x{1fd6}-\x{1fdb}\x{1fe0}-\x{1fec}\x{1ff2}-\x{1ff4}\x{1ff6}-\x{1ffc}\x{2102}\x{2107}\x{210a}-\x{2113}",
    r"\x{2115}\x{2119}-\x{211d}\x{2124}\x{2126}\x{2128}\x{212a}-\x{212d}\x{212f}-\x{2134}\x{2139}\x{213c}-\x{213f}\x{2145}-\x{2149}",
    r"\x{214e}\x{2183}\x{2184}\x{2c00}-\x{2c7b}\x{2c7e}-\x{2ce4}\x{2ceb}-\x{2cee}\x{2cf2}\x{2cf3}\x{a640}-\x{a66d}\x{a680}-\x{a69b}",
    r"\x{a722}-\x{a76f}\x{a771}-\x{a787}\x{a78b}-\x{a78e}\x{ab70}-\x{abbf}\x{fb00}-\x{fb06}\x{fb13}-\x{fb17}\x{ff21}-\x{ff3a}",
    r"\x{ff41}-\x{ff5a}\x{10400}-\x{1044f}\x{104b0}-\x{104d3}\x{104d8}-\x{104fb}\x{10c80}-\x{10cb2}\x{10cc0}-\x{10cf2}",
    r"\x{118a0}-\x{118df}\x{1e900}-\x{1e943}]+"
);
const DEEPSEEK_PUNCTUATION: &str = r"\s?[!-/:-~\x{ff01}-\x{ff0f}\x{ff1a}-\x{ff5e}\x{2018}-\x{201f}\x{3001}-\x{3002}]+";
/// Digits in threes, counted from the last. What stands before a number goes with its first digits, as in llama.cpp.
const THREES_FROM_THE_END: &str = r"\P{N}*(?:\p{N}{1,2}(?=(?:\p{N}{3})*(?!\p{N}))|\p{N}{3})";
const AFMOE_CJK: &str = concat!(
    r"[\x{4e00}-\x{9fff}\x{3400}-\x{4dbf}\x{8c48}-\x{faff}\x{3040}-\x{30ff}\x{ff65}-\x{ff9f}\x{2f00}-\x{2fdf}\x{e40}-\x{eff}",
    r"\x{1780}-\x{17ff}\x{1000}-\x{109f}\x{aa60}-\x{aa7f}\x{a9e0}-\x{a9ff}\x{ac00}-\x{d7af}\x{1100}-\x{11ff}]+"
);
const YOUTU_SCRIPTS: &str = concat!(
    r"[\x{ac00}-\x{d7a3}\x{3131}-\x{318e}]+|[！…“”‘’—：；，\x{3001}-\x{303f}\x{fe30}-\x{fe4f}]+|[\x{3105}-\x{312f}]+",
    r"|[\x{4e00}-\x{9fa5}\x{3040}-\x{309f}\x{30a0}-\x{30ff}]+"
);

#[rustfmt::skip]
const PRE_TOKENIZERS: &[PreTokenizer] = &[
    PreTokenizer { names: &["default"], splits: &[r"[\p{P}$+<=>^~|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"], traits: PLAIN },
    PreTokenizer {
        names: &[
            "gpt-2", "mpt", "olmo", "phi-2", "jais", "trillion", "exaone4", "gigachat", "a.x-4.0", "mellum", "granite-docling",
            "jina-es", "jina-de", "jina-v1-en", "roberta-bpe",
        ],
        splits: &[GPT2],
        traits: PLAIN,
    },
    PreTokenizer {
        names: &["starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"],
        splits: &[r"\p{N}", GPT2],
        traits: PLAIN,
    },
    PreTokenizer { names: &["falcon"], splits: &[r"[\p{P}$+<=>^~|`]+", GPT2, "[0-9][0-9][0-9]"], traits: PLAIN },
    PreTokenizer {
        names: &[
            "llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano",
        ],
        splits: &[LLAMA3],
        traits: WHOLE_AND_BEGUN,
    },
    PreTokenizer { names: &["dbrx", "smaug-bpe", "chatglm-bpe"], splits: &[LLAMA3], traits: PLAIN },
    PreTokenizer { names: &["glm4", "glm5"], splits: &[LLAMA3], traits: WHOLE },
    PreTokenizer { names: &["jais-2"], splits: &[JAIS2], traits: PLAIN },
    PreTokenizer {
        names: &[
            "qwen2", "deepseek-r1-qwen", "stablelm2", "megrez", "hunyuan", "grok-2", "solar-open", "kormo", "f2llmv2",
        ],
        splits: &[QWEN2],
        traits: PLAIN,
    },
    PreTokenizer { names: &["qwen35"], splits: &[QWEN35], traits: PLAIN },
    PreTokenizer { names: &["laguna"], splits: &[r"[^\n]+|\n+", QWEN2], traits: PLAIN },
    PreTokenizer { names: &["ufakzeka"], splits: &[UFAKZEKA], traits: PLAIN },
    PreTokenizer { names: &["minicpm5"], splits: &[r"\p{N}{1,3}", MINICPM5], traits: WHOLE },
    PreTokenizer { names: &["seed-coder"], splits: &[SEED_CODER], traits: PLAIN },
    PreTokenizer { names: &["bailingmoe", "bailingmoe2", "llada-moe"], splits: &[BAILING], traits: PLAIN },
    PreTokenizer { names: &["exaone-moe"], splits: &[EXAONE_MOE], traits: PLAIN },
    PreTokenizer { names: &["tekken"], splits: &[TEKKEN], traits: WHOLE_AND_BEGUN },
    PreTokenizer { names: &["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], splits: &[GPT4O], traits: PLAIN },
    PreTokenizer { names: &["granite-embed-multi-97m"], splits: &[GRANITE_EMBEDDING], traits: WHOLE },
    PreTokenizer { names: &["tiny_aya", "cohere2moe"], splits: &[THREES_FROM_THE_END, TINY_AYA], traits: PLAIN },
    PreTokenizer { names: &["youtu"], splits: &[YOUTU_SCRIPTS, YOUTU], traits: WHOLE },
    PreTokenizer {
        names: &["deepseek-llm"],
        splits: &[r"[\r\n]", DEEPSEEK_WORDS, DEEPSEEK_PUNCTUATION, r"\s+$", DEEPSEEK_CJK, r"\p{N}+"],
        traits: PLAIN,
    },
    PreTokenizer {
        names: &["deepseek-coder"],
        splits: &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", DEEPSEEK_CJK, r"\p{N}"],
        traits: PLAIN,
    },
    PreTokenizer {
        names: &["deepseek-v3", "hunyuan-dense", "hy_v4", "joyai-llm"],
        splits: &[r"\p{N}{1,3}", CJK, DEEPSEEK3],
        traits: PLAIN,
    },
    PreTokenizer { names: &["spark2_5"], splits: &[r"\p{N}{1,3}", CJK, SPARK, r"\p{N}"], traits: PLAIN },
    PreTokenizer { names: &["kimi-k2"], splits: &[KIMI], traits: PLAIN },
    PreTokenizer { names: &["afmoe"], splits: &[THREES_FROM_THE_END, AFMOE_CJK, DEEPSEEK3], traits: PLAIN },
    PreTokenizer { names: &["bloom", "poro-chat", "gpt3-finnish"], splits: &[BLOOM], traits: PLAIN },
    PreTokenizer { names: &["viking"], splits: &[BLOOM, r"\p{N}"], traits: PLAIN },
    PreTokenizer { names: &["superbpe"], splits: &[r"\p{N}+", "(?=(?:[0-9]{3})+(?![0-9]))"], traits: PLAIN },
    PreTokenizer {
        names: &["chameleon"],
        splits: &[
            "<sentinel:[0-9]+>", "IMGIMG[A-I]{1,4}Z", r"[\t\n]|    |  ", r"\p{N}", r"[\p{P}!-/:-@\[-`{-~]", GPT2,
        ],
        traits: BEGUN,
    },
];

/// The pre-tokenizer of a file. One that names none has llama.cpp's default one.
pub fn named(name: Option<&str>) -> Option<&'static PreTokenizer> {
    let name = name.filter(|name| !name.is_empty()).unwrap_or("default");
    PRE_TOKENIZERS.iter().find(|known| known.names.contains(&name))
}
