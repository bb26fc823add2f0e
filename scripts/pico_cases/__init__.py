"""The models of fixtures/pico, as data; make_pico_fixtures.py writes them."""

from pico_cases import dense, llama, moe, vision
from pico_cases.case import Case


def cases() -> list[Case]:
    return llama.cases() + dense.cases() + moe.cases() + vision.cases()
