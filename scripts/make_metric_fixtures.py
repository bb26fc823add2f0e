"""Make fixtures/metrics.json: what the reference implementations give for pairs of texts.

Exact match and F1 are those of SQuAD's official script for version 2.0, whose functions are copied
below; ROUGE-L is rouge-score's, BLEU and chrF are sacrebleu's. All with their defaults; ROUGE-L without
stemming.

    python scripts/make_metric_fixtures.py

Made with sacrebleu 2.6.0 and rouge-score 0.1.2.
"""

import collections
import json
import random
import re
import string
from pathlib import Path

import sacrebleu
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF

OUTPUT = Path(__file__).parent.parent / "fixtures" / "metrics.json"

# Prediction and reference.
PAIRS = [
    # Empty, and what becomes empty.
    ("", ""),
    ("", "an answer"),
    ("an answer", ""),
    (" \t\n", "word"),
    ("the", "a"),
    ("?!", "..."),
    ("the the", "The."),
    ("\u00a0", "\u3000"),
    # Equal, nearly equal, not at all.
    ("Paris", "Paris"),
    ("paris", "The Paris!"),
    ("It is Paris.", "Paris"),
    ("London", "Paris"),
    ("the cat sat on the mat", "the cat is on the mat"),
    ("The cat sat on the mat.", "The cat sat on the mat."),
    ("a b c d e f", "f e d c b a"),
    ("one two three four", "one two three four five six seven eight"),
    ("one two three four five six seven eight", "one two three four"),
    ("word", "word word word word"),
    ("word word word word word", "word"),
    ("x", "x"),
    ("ab", "ab"),
    ("ab cd", "abcd"),
    # Punctuation, numbers, abbreviations, entities.
    ("It costs $3,500.50, e.g. in the U.S.A.", "It costs $3,500.50 in the U.S.A."),
    ("1,000 and 1.5 and 2-3", "1000 and 1,5 and 2–3"),
    ("-5 degrees, 10-15 m", "5 degrees; 10 - 15 m"),
    ("well-known state-of-the-art", "well known state of the art"),
    ("Tom &amp; Jerry &lt;3 &quot;cheese&quot;", "Tom & Jerry <3 \"cheese\""),
    ("&amp;lt; &#39;", "&lt; '"),
    ("<skipped> words", "words"),
    ("[1] {2} (3) /4/ \\5\\ |6| ~7~ `8` @9 #10 %11 ^12 *13 _14_ +15 =16", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16"),
    ("don't can't won't", "do not cannot will not"),
    ("'quoted' \"twice\"", "quoted twice"),
    ("3.", "3"),
    (".5", "0.5"),
    ("a.b.c", "a. b. c."),
    ("10%", "10 %"),
    ("http://example.org/a?b=c&d=e#f", "example.org"),
    # Line breaks, tabs and rare white space.
    ("first\nsecond\nthird", "first second third"),
    ("hyphen-\nated", "hyphenated"),
    ("one\ttwo\r\nthree", "one two three"),
    ("a\u2003b\u2028c\u0085d\u001ce", "a b c d e"),
    ("trailing  ", "  leading"),
    ("zero\u200bwidth", "zero width"),
    # Other scripts, marks and symbols.
    ("東京は日本の首都です。", "東京は日本の首都である。"),
    ("我爱自然语言处理", "我喜欢自然语言处理。"),
    ("서울은 대한민국의 수도이다", "서울이 대한민국 수도다"),
    ("القاهرة هي عاصمة مصر", "عاصمة مصر هي القاهرة"),
    ("مَرْحَبًا بِكَ", "مرحبا بك"),
    ("दिल्ली भारत की राजधानी है", "भारत की राजधानी दिल्ली है।"),
    ("Москва — столица России", "Столица России — Москва"),
    ("Cafe\u0301 nai\u0308ve", "Café naïve"),
    ("a\u0301 the\u0301 an\u0301x", "á thé"),
    ("Straße STRASSE", "strasse straße"),
    ("İstanbul ΣΊΣΥΦΟΣ", "i̇stanbul σίσυφος"),
    ("\u212a 5 \u2126", "k 5 ω"),
    ("👍🏽 great 😀😀", "great 😀 👍"),
    ("👩‍👩‍👧", "👩👩👧"),
    ("x² ½ ① Ⅳ", "x2 1/2 1 IV"),
    ("a_b the_c _an_", "a b c"),
    ("l'école à l'heure", "l'ecole a l'heure"),
    ("“curly” ‘quotes’ … – —", "\"curly\" 'quotes' ... - -"),
    ("𝒜 𝓑 𐍈", "𝒜 𐍈"),
    ("ﬁne ﬂow", "fine flow"),
    ("ｆｕｌｌ　ｗｉｄｔｈ", "full width"),
    # Longer.
    (
        "Artificial intelligence is the branch of engineering and science devoted to constructing machines that think.",
        "Artificial Intelligence is the branch of engineering and science devoted to constructing machines that think.",
    ),
    (
        "Yes. I am inspired by commander Data's artificial personality, and by many other robots, too.",
        "Yes, I am inspired by commander Data's artificial personality.",
    ),
    ("again and again and again and again " * 20, "again and once more, " * 25),
    ("", "x" * 50),
]


def long_pairs() -> list[tuple[str, str]]:
    """Random sentences and what is left of them when words are dropped, doubled and moved."""
    draw = random.Random(0)
    words = "the a an of over quick brown fox jumps lazy dog, cat. 12 3.5 naïve 東京 😀 don't well-known &amp; (so)".split()
    pairs = []
    for length in (5, 9, 20, 60, 150, 400):
        sentence = [draw.choice(words) for _ in range(length)]
        changed = [word for word in sentence if draw.random() > 0.2 for _ in range(1 + (draw.random() < 0.1))]
        place = draw.randrange(len(changed))
        pairs.append((" ".join(changed[place:] + changed[:place]), " ".join(sentence)))
    return pairs


def normalize_answer(s: str) -> str:
    """From SQuAD's evaluate-v2.0.py."""

    def remove_articles(text):
        regex = re.compile(r"\b(a|an|the)\b", re.UNICODE)
        return re.sub(regex, " ", text)

    def white_space_fix(text):
        return " ".join(text.split())

    def remove_punc(text):
        exclude = set(string.punctuation)
        return "".join(ch for ch in text if ch not in exclude)

    def lower(text):
        return text.lower()

    return white_space_fix(remove_articles(remove_punc(lower(s))))


def get_tokens(s):
    """From SQuAD's evaluate-v2.0.py."""
    if not s:
        return []
    return normalize_answer(s).split()


def compute_exact(a_gold, a_pred):
    """From SQuAD's evaluate-v2.0.py."""
    return int(normalize_answer(a_gold) == normalize_answer(a_pred))


def compute_f1(a_gold, a_pred):
    """From SQuAD's evaluate-v2.0.py."""
    gold_toks = get_tokens(a_gold)
    pred_toks = get_tokens(a_pred)
    common = collections.Counter(gold_toks) & collections.Counter(pred_toks)
    num_same = sum(common.values())
    if len(gold_toks) == 0 or len(pred_toks) == 0:
        # If either is no-answer, then F1 is 1 if they agree, 0 otherwise
        return int(gold_toks == pred_toks)
    if num_same == 0:
        return 0
    precision = 1.0 * num_same / len(pred_toks)
    recall = 1.0 * num_same / len(gold_toks)
    f1 = (2 * precision * recall) / (precision + recall)
    return f1


def main() -> None:
    pairs = PAIRS + long_pairs()
    rouge, bleu, chrf = RougeScorer(["rougeL"], use_stemmer=False), BLEU(), CHRF()

    def corpus(metric, chosen: list[tuple[str, str]]) -> float:
        return metric.corpus_score([prediction for prediction, _ in chosen], [[gold for _, gold in chosen]]).score

    scored = [
        {
            "prediction": prediction,
            "reference": gold,
            "exact-match": compute_exact(gold, prediction),
            "f1": compute_f1(gold, prediction),
            "rouge-l": rouge.score(gold, prediction)["rougeL"].fmeasure,
            "bleu": corpus(bleu, [(prediction, gold)]),
            "chrf": corpus(chrf, [(prediction, gold)]),
        }
        for prediction, gold in pairs
    ]
    # Corpora: all pairs, the first ones (which have next to nothing in common), runs of eight.
    ranges = [(0, len(pairs)), (0, 8)] + [(start, start + 8) for start in range(8, len(pairs) - 8, 8)]
    corpora = [
        {"from": first, "to": end, "bleu": corpus(bleu, pairs[first:end]), "chrf": corpus(chrf, pairs[first:end])}
        for first, end in ranges
    ]
    made_with = {"sacrebleu": sacrebleu.__version__, "rouge-score": "0.1.2", "squad": "evaluate-v2.0.py"}
    made_with |= {"bleu": str(bleu.get_signature()), "chrf": str(chrf.get_signature())}
    result = {"made_with": made_with, "pairs": scored, "corpora": corpora}
    OUTPUT.write_text(json.dumps(result, indent=1, ensure_ascii=True) + "\n")
    print(f"{len(scored)} pairs, {len(corpora)} corpora")


if __name__ == "__main__":
    main()
