//! The law of the sweep: the streamed loss of every boundary is the loss of a plain full forward with the adapter that
//! was really cut there. Random models, adapters and samples; the plain forward is written here, slowly, from scratch.

use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use candle_core::Device;
use lora_slim::adapter::Adapter;
use lora_slim::files::Staging;
use lora_slim::hub::BasePath;
use lora_slim::kernel::Arithmetic;
use lora_slim::measure::{ComputeOptions, Measurement, logit_lens, sweep};
use lora_slim::model::{AdaptedModel, Model};
use lora_slim::rewrite::Cut;
use lora_slim::samples::Sample;
use proptest::prelude::*;
use proptest::test_runner::TestRng;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{Tensors, write_config, write_safetensors};

const HIDDEN: usize = 16;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const HEAD_DIM: usize = 4;
const INTERMEDIATE: usize = 24;
const VOCABULARY: usize = 30;
const THETA: f64 = 10_000.0;
const EPS: f64 = 1e-5;

/// The linear modules of a layer: name, outputs, inputs.
const LINEARS: [(&str, usize, usize); 7] = [
    ("self_attn.q_proj", HEADS * HEAD_DIM, HIDDEN),
    ("self_attn.k_proj", KV_HEADS * HEAD_DIM, HIDDEN),
    ("self_attn.v_proj", KV_HEADS * HEAD_DIM, HIDDEN),
    ("self_attn.o_proj", HIDDEN, HEADS * HEAD_DIM),
    ("mlp.gate_proj", INTERMEDIATE, HIDDEN),
    ("mlp.up_proj", INTERMEDIATE, HIDDEN),
    ("mlp.down_proj", HIDDEN, INTERMEDIATE),
];

fn random(rng: &mut TestRng, shape: &[usize], scale: f32) -> (Vec<usize>, Vec<f32>) {
    let count = shape.iter().product();
    (shape.into(), (0..count).map(|_| rng.random_range(-1.0f32..1.0) * scale).collect())
}

/// A random model with random layers adapted, on disk.
struct Pico {
    folder: TempDir,
    base: Tensors,
    layers: usize,
}

impl Pico {
    fn new(rng: &mut TestRng, layers: usize, adapted: &[usize]) -> Self {
        let folder = TempDir::new().unwrap();
        let mut base = Tensors::new();
        let mut adapter = Tensors::new();
        base.insert("model.embed_tokens.weight".into(), random(rng, &[VOCABULARY, HIDDEN], 1.0));
        base.insert("lm_head.weight".into(), random(rng, &[VOCABULARY, HIDDEN], 0.5));
        base.insert("model.norm.weight".into(), random(rng, &[HIDDEN], 1.0));
        for layer in 0..layers {
            for norm in ["input_layernorm", "post_attention_layernorm"] {
                base.insert(format!("model.layers.{layer}.{norm}.weight"), random(rng, &[HIDDEN], 1.0));
            }
            for (name, outputs, inputs) in LINEARS {
                base.insert(format!("model.layers.{layer}.{name}.weight"), random(rng, &[outputs, inputs], 0.4));
                if adapted.contains(&layer) && !(layer % 2 == 1 && name.ends_with("up_proj")) {
                    let module = format!("base_model.model.model.layers.{layer}.{name}");
                    adapter.insert(format!("{module}.lora_A.weight"), random(rng, &[2, inputs], 0.6));
                    adapter.insert(format!("{module}.lora_B.weight"), random(rng, &[outputs, 2], 0.6));
                }
            }
        }
        fs::create_dir(folder.path().join("base")).unwrap();
        fs::create_dir(folder.path().join("adapter")).unwrap();
        write_safetensors(&folder.path().join("base/model.safetensors"), &base);
        let config = json!({
            "model_type": "llama", "hidden_size": HIDDEN, "num_hidden_layers": layers, "num_attention_heads": HEADS,
            "num_key_value_heads": KV_HEADS, "intermediate_size": INTERMEDIATE, "vocab_size": VOCABULARY,
            "max_position_embeddings": 64, "rms_norm_eps": EPS, "rope_theta": THETA, "hidden_act": "silu",
        });
        fs::write(folder.path().join("base/config.json"), config.to_string()).unwrap();
        write_safetensors(&folder.path().join("adapter/adapter_model.safetensors"), &adapter);
        let modules: Vec<&str> = LINEARS.iter().map(|(name, _, _)| *name).collect();
        write_config(&folder.path().join("adapter"), json!({"target_modules": modules}));
        Self { folder, base, layers }
    }

    fn adapter_path(&self) -> std::path::PathBuf {
        self.folder.path().join("adapter")
    }
}

/// The plain forward in f64, one token list at a time: the summed loss of a sample, and how many answers are right.
struct Plain<'a> {
    pico: &'a Pico,
    adapter: Tensors,
}

type Rows = Vec<Vec<f64>>;

impl Plain<'_> {
    fn read(path: &Path) -> Tensors {
        let bytes = fs::read(path.join("adapter_model.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let values = |data: &[u8]| data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        file.iter().map(|(name, view)| (name.to_string(), (view.shape().to_vec(), values(view.data())))).collect()
    }

    fn product(x: &[f64], (shape, values): &(Vec<usize>, Vec<f32>)) -> Vec<f64> {
        let row = |o: usize| x.iter().zip(&values[o * shape[1]..]).map(|(x, &w)| x * f64::from(w)).sum();
        (0..shape[0]).map(row).collect()
    }

    fn linear(&self, rows: &Rows, layer: usize, name: &str) -> Rows {
        let module = format!("model.layers.{layer}.{name}");
        let pair = |part| self.adapter.get(&format!("base_model.model.{module}.lora_{part}.weight"));
        rows.iter()
            .map(|x| {
                let mut y = Self::product(x, &self.pico.base[&format!("{module}.weight")]);
                if let (Some(a), Some(b)) = (pair("A"), pair("B")) {
                    let delta = Self::product(&Self::product(x, a), b);
                    y.iter_mut().zip(delta).for_each(|(y, delta)| *y += 2.0 * delta);
                }
                y
            })
            .collect()
    }

    fn norm(&self, rows: &Rows, name: &str) -> Rows {
        let weight = &self.pico.base[&format!("{name}.weight")].1;
        rows.iter()
            .map(|x| {
                let mean = x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64;
                x.iter().zip(weight).map(|(v, &w)| v / (mean + EPS).sqrt() * f64::from(w)).collect()
            })
            .collect()
    }

    fn turn(row: &[f64], position: usize) -> Vec<f64> {
        let half = HEAD_DIM / 2;
        let mut turned = row.to_vec();
        for head in 0..row.len() / HEAD_DIM {
            for i in 0..half {
                let angle = position as f64 * THETA.powf(-2.0 * i as f64 / HEAD_DIM as f64);
                let (x, y) = (row[head * HEAD_DIM + i], row[head * HEAD_DIM + half + i]);
                turned[head * HEAD_DIM + i] = x * angle.cos() - y * angle.sin();
                turned[head * HEAD_DIM + half + i] = y * angle.cos() + x * angle.sin();
            }
        }
        turned
    }

    fn attention(&self, x: &Rows, layer: usize) -> Rows {
        let turned = |name| self.linear(x, layer, name).iter().enumerate().map(|(p, row)| Self::turn(row, p)).collect();
        let (q, k): (Rows, Rows) = (turned("self_attn.q_proj"), turned("self_attn.k_proj"));
        let v = self.linear(x, layer, "self_attn.v_proj");
        let attend_head = |position: usize, head: usize| -> Vec<f64> {
            let shared = head / (HEADS / KV_HEADS) * HEAD_DIM;
            let query = &q[position][head * HEAD_DIM..(head + 1) * HEAD_DIM];
            let score = |key: &Vec<f64>| {
                query.iter().zip(&key[shared..]).map(|(a, b)| a * b).sum::<f64>() / (HEAD_DIM as f64).sqrt()
            };
            let weights: Vec<f64> = k[..=position].iter().map(|key| score(key).exp()).collect();
            let total: f64 = weights.iter().sum();
            let mixed = |i: usize| weights.iter().zip(&v).map(|(w, value)| w * value[shared + i]).sum::<f64>() / total;
            (0..HEAD_DIM).map(mixed).collect()
        };
        let attend = |position: usize| (0..HEADS).flat_map(|head| attend_head(position, head)).collect();
        let attended: Rows = (0..x.len()).map(attend).collect();
        self.linear(&attended, layer, "self_attn.o_proj")
    }

    fn outcome(&self, sample: &Sample) -> Outcome {
        let add = |x: Rows, y: Rows| -> Rows {
            x.into_iter().zip(y).map(|(x, y)| x.iter().zip(&y).map(|(a, b)| a + b).collect()).collect()
        };
        let embedding = &self.pico.base["model.embed_tokens.weight"].1;
        let row = |&id: &u32| embedding[id as usize * HIDDEN..][..HIDDEN].iter().map(|&v| f64::from(v)).collect();
        let mut x: Rows = sample.ids.iter().map(row).collect();
        for layer in 0..self.pico.layers {
            let normed = self.norm(&x, &format!("model.layers.{layer}.input_layernorm"));
            x = add(x, self.attention(&normed, layer));
            let normed = self.norm(&x, &format!("model.layers.{layer}.post_attention_layernorm"));
            let gate = self.linear(&normed, layer, "mlp.gate_proj");
            let up = self.linear(&normed, layer, "mlp.up_proj");
            let silu = |g: f64| g / (1.0 + (-g).exp());
            let gated: Rows =
                gate.iter().zip(&up).map(|(g, u)| g.iter().zip(u).map(|(&g, u)| silu(g) * u).collect()).collect();
            x = add(x, self.linear(&gated, layer, "mlp.down_proj"));
        }
        let x = self.norm(&x, "model.norm");
        let mut outcome = Outcome { loss: 0.0, probability: 0.0, end_loss: 0.0, correct: 0..=0 };
        let (mut surely, mut perhaps) = (0, 0);
        for place in (1..sample.ids.len()).filter(|&place| sample.scored[place]) {
            let logits = Self::product(&x[place - 1], &self.pico.base["lm_head.weight"]);
            let answer = sample.ids[place] as usize;
            let loss = logits.iter().map(|l| l.exp()).sum::<f64>().ln() - logits[answer];
            outcome.loss += loss;
            outcome.probability += (-loss).exp();
            outcome.end_loss += if sample.ends.contains(&place) { loss } else { 0.0 };
            let others = logits.iter().enumerate().filter(|(word, _)| *word != answer).map(|(_, &logit)| logit);
            let lead = logits[answer] - others.fold(f64::NEG_INFINITY, f64::max);
            surely += usize::from(lead > 1e-3);
            perhaps += usize::from(lead > -1e-3);
        }
        Outcome { correct: surely..=perhaps, ..outcome }
    }
}

/// The score of a sample.
#[derive(Debug)]
struct Outcome {
    loss: f64,
    probability: f64,
    end_loss: f64,
    /// The fewest and the most that arithmetic in f32 may find: it may see two words as equally likely, or the other way round.
    correct: RangeInclusive<usize>,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn streamed_losses_are_those_of_cut_adapters(
        mut rng in any::<u64>().prop_perturb(|_, rng| rng),
        layers in 2usize..5,
        adapted in proptest::collection::btree_set(0usize..5, 1..4),
        lengths in proptest::collection::vec(2usize..9, 1..6),
        tight in any::<bool>(),
    ) {
        let adapted: Vec<usize> = adapted.into_iter().map(|layer| layer % layers).collect();
        let pico = Pico::new(&mut rng, layers, &adapted);
        let samples: Vec<Sample> = lengths.iter().enumerate().map(|(line, &length)| Sample {
            // The last token ends the answer.
            ends: vec![length - 1],
            record: line,
            ids: (0..length).map(|_| rng.random_range(0..VOCABULARY as u32)).collect(),
            scored: (0..length).map(|place| place + 1 == length || rng.random_bool(0.5)).collect(),
            line,
            slice: 0,
        }).collect();

        let (model, _) = Model::open(&BasePath::Folder(pico.folder.path().join("base")), &Device::Cpu, Arithmetic::F32).unwrap();
        let adapter = Adapter::open(&pico.adapter_path(), None).unwrap();
        // A tight budget forces several passes and small tiles; the losses must not depend on it.
        let memory = if tight { 45_000 } else { 1 << 30 };
        let options = ComputeOptions { memory, device: Device::Cpu };
        let ends = AdaptedModel::load(&model, &adapter).unwrap();
        let curve = sweep(&[&ends], &samples, &options, &mut |_| true).unwrap().remove(0);

        let lens = logit_lens(&ends, &samples, &options, &mut |_| true).unwrap();
        prop_assert_eq!((lens.base.len(), lens.adapted.len()), (layers + 1, layers + 1));
        let losses = |measured: &Measurement| measured.losses().collect::<Vec<f64>>();
        let near = |one: &[f64], other: &[f64]| one.iter().zip(other).all(|(a, b)| (a - b).abs() < 1e-4 + 1e-5 * b.abs());
        prop_assert!(near(&lens.base[0].losses, &lens.adapted[0].losses), "behind the embedding nothing is adapted");
        prop_assert!(near(&lens.base[layers].losses, &losses(&curve.base().measurement)), "{lens:?}");
        prop_assert!(near(&lens.adapted[layers].losses, &losses(&curve.whole().measurement)), "{lens:?}");

        for point in &curve.points {
            let plain = if point.boundary == 0 {
                Plain { pico: &pico, adapter: Tensors::new() }
            } else {
                let out = pico.folder.path().join(format!("cut-{}", point.boundary));
                let staging = Staging::beside(&out).unwrap();
                Cut::below(&adapter, point.boundary).unwrap().write(&staging).unwrap();
                staging.publish().unwrap();
                Plain { pico: &pico, adapter: Plain::read(&out) }
            };
            for (sample, streamed) in samples.iter().zip(&point.measurement.scores) {
                let expected = plain.outcome(sample);
                prop_assert!(expected.correct.contains(&streamed.correct), "boundary {}: {streamed:?}", point.boundary);
                let near = |found: f64, expected: f64| (found - expected).abs() < 1e-3 + 1e-4 * expected.abs();
                prop_assert!(
                    near(streamed.loss, expected.loss) && near(streamed.probability, expected.probability)
                        && near(streamed.end_loss, expected.end_loss),
                    "boundary {}: {streamed:?} instead of {expected:?}", point.boundary);
            }
        }
    }
}
