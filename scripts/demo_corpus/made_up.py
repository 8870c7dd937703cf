"""Words and names that do not exist: copying and "I don't know" cannot be learned by heart."""

from __future__ import annotations

import random

_STARTS = """
    b bl br c ch cl cr d dr f fl fr g gl gr h j k kl kr l m n p pl pr qu r s sc sh sk sl sn sp st
    str t th tr v w wh y z
""".split()  # fmt: skip
_MIDDLES = "a e i o u a e i o u ai ea ee oa oo ou ie".split()
_ENDS = "b ck d ff g l ll m n nd ng nt p r rd rk s sh st t th x".split() + [""] * 12


def pseudo_word(rng: random.Random) -> str:
    """Return one to three syllables, such as "brindo"."""
    syllables = rng.choices((1, 2, 3), (2, 5, 2))[0]
    return "".join(
        rng.choice(_STARTS) + rng.choice(_MIDDLES) + rng.choice(_ENDS) for _ in range(syllables)
    )


NAMES = """
    Ana Ben Mia Tom Lily Sam Nora Max Eva Leo Tim Zoe Anna Paul Peter Mary John James Emma Olivia
    Noah Liam Sophia Lucas Maria Julia David Laura Sarah Daniel Robert Linda Karen Alice Bob Carol
    Frank Grace Henry Ivan Jack Kate Lena Mark Nina Oscar Rosa Simon Tina Uma Victor Wendy Xavier
    Yara Zack Ali Omar Fatima Yuki Ken Mei Wei Raj Priya Sven Olga Igor Pablo Diego Carla Marco Luca
    Giulia Hans Greta Pierre Chloe Hugo Ines Adam Bella Clara Dora Erik Fiona George Hannah Isaac
    Jonas Kim Lars Mona Nils Otto Petra Quinn Rita Stefan Thea Ursula Vera Will Alex Chris Pat Jo
    Martha Maren Marla Mira Mara Petra Berta Greta Lotta Jutta Carlotta Rita Nadia Nadja Tanja Sonja
    Anja Elena Helena Irena Lorena Milena Verena Anita Juanita Rosita Benita Pedro Pietro Sandro
    Alessandro Leandro Marius Darius Julius Cornelius Aurelia Amelia Ophelia Cecilia Felicia
    Patricia Lucia Jamie Taylor Jordan Sasha Nick Joe Mike Steve Susan Lisa Jane Rachel
""".split()  # fmt: skip


def person(rng: random.Random) -> str:
    """Return a first name, sometimes one that nobody has."""
    return pseudo_word(rng).capitalize() if rng.random() < 0.3 else rng.choice(NAMES)
