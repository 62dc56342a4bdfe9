"""Word pools for planted facts. The last fifth of every pool is never used in training."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from rmt_model.data.story import Split

__all__ = ["NO_LEXICON", "POOLS", "Lexicon", "Pool"]


@dataclass(frozen=True)
class Pool:
    """Words for one slot of a fact, split into those for training and those for validation."""

    train: tuple[str, ...]
    validation: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> "Pool":
        """Split comma-separated words four to one, in an order that does not follow the writing."""
        words = sorted({word.strip() for word in text.replace("\n", " ").split(",") if word.strip()})
        Random(2304).shuffle(words)
        cut = len(words) - len(words) // 5
        return cls(tuple(words[:cut]), tuple(words[cut:]))

    def draw(self, rng: Random, split: Split) -> str:
        """One word of the split."""
        return rng.choice(self.train if split == "train" else self.validation)


_POOLS = {
    "person": Pool.of(
        """Mary, John, Daniel, Sandra, Alice, Robert, Helen, Victor, Clara, Edmund, Beatrice, Hugo, Ingrid, Julian,
        Katya, Leopold, Miriam, Nikolai, Olivia, Patrick, Quentin, Rosalind, Sebastian, Theresa, Ursula,
        Vincent, Walter, Xenia, Yvonne, Zachary, Amara, Boris, Cecilia, Dmitri, Eleanor, Felix, Greta,
        Harold, Isabel, Jasper, Kiran, Lydia, Matteo, Nadia, Oscar, Priya, Rafael, Sofia, Tomas, Uma,
        Valentin, Wendy, Yusuf, Zara, Albert, Bridget, Conrad, Daphne, Elias, Fiona, Gustav, Hannah,
        Ivan, Joanna, Karl, Louise, Marcus, Natalie, Otto, Penelope, Ramon, Selma, Tobias, Vera,
        Winston, Adele, Benedict, Camille, Desmond, Edith, Frederick, Gloria, Hector, Irene, Jonas,
        Kenneth, Lucia, Malcolm, Nora, Orlando, Philippa, Rupert, Stella, Thaddeus, Violet, Wilfred,
        Agnes, Bernard, Colette, Dominic, Esther, Floyd, Gwendolyn, Horace, Imogen, Jerome, Kasimir,
        Leonora, Magnus, Noel, Octavia, Percival, Ruth, Simon, Tabitha, Ulrich, Vanessa, Wallace, Anton,
        Bella, Cyrus, Dora, Ernest, Frances, Gideon, Hilda, Igor, Judith, Konrad, Lorenzo, Maud, Nelson,
        Ophelia, Peter, Roxana, Stefan, Tamara, Vladimir, Wanda, Abigail, Caspar"""
    ),
    "adjective": Pool.of(
        """old, small, blue, quiet, broken, golden, northern, eastern, western, southern, narrow, dusty, red,
        green, white, black, silver, wooden, hidden, ancient, lower, upper, long, round, square, empty,
        grey, yellow, abandoned, frozen, painted, crooked, marble, distant, stone, rusty, velvet,
        crimson, painted, secret, tall, dark, bright, iron, copper, forgotten, modern, central, royal,
        little, purple, brown, polished, striped, heavy, light, hollow, scarlet, amber, ivory, gloomy,
        sunny, crowded, private"""
    ),
    "place": Pool.of(
        """bathroom, bedroom, garden, hallway, kitchen, office, library, cellar, attic, harbour, mill, market,
        station, chapel, museum, bakery, stable, workshop, tower, theatre, hospital, school, forest,
        castle, orchard, village, courtyard, lighthouse, warehouse, greenhouse, vineyard, quarry,
        laboratory, monastery, tavern, barn, pavilion, archive, studio, dairy, gallery, cottage,
        embassy, factory, gymnasium, hotel, inn, jetty, kiosk, lodge, mansion, nursery, observatory,
        palace, rectory, sanatorium, terrace, university, villa, windmill, bank, boathouse, brewery,
        canteen, cathedral, cinema, corridor, dungeon, foundry, granary, hangar, infirmary, laundry,
        marina, meadow, pantry, parlour, prison, pharmacy, sawmill, shipyard, smithy, stadium, tannery,
        valley, wharf, zoo"""
    ),
    "object": Pool.of(
        """apple, football, milk, lantern, ring, letter, map, umbrella, violin, compass, coin, basket, candle,
        hammer, mirror, notebook, telescope, teapot, blanket, helmet, clock, statue, bottle, dagger,
        portrait, necklace, ladder, parcel, whistle, crown, saddle, drum, kettle, globe, rope, shovel,
        feather, hat, carpet, goblet, manuscript, pearl, spoon, trumpet, vase, wallet, anchor, brooch,
        chalice, diary, easel, flute, gramophone, harp, jug, knife, locket, medal, needle, oar,
        passport, quilt, rifle, scarf, ticket, typewriter, urn, wheel, axe, bracelet, camera, doll,
        envelope, fan, glove, idol, jewel, lamp, microscope, overcoat"""
    ),
    "container": Pool.of(
        """box, drawer, cupboard, chest, bag, suitcase, barrel, cabinet, jar, crate, trunk, wardrobe, sack, bucket,
        safe, oven, desk, pouch, casket, tin, hamper, locker, bookcase, cart, wagon, bin, satchel,
        vault, tent, sideboard"""
    ),
    "opener": Pool.of(
        """key, card, lever, button, password, handle, switch, seal, crank, stone, charm, token, code word, badge,
        dial, chisel, signet, pass, rod, bell, hook, wrench, crowbar, amulet, remote"""
    ),
    "opened": Pool.of(
        """door, gate, chest, safe, vault, cellar, window, cage, trunk, archive, tomb, drawer, strongroom, hatch,
        tower, cabinet, lift, bridge, tunnel, garage, locker, elevator, portal, coffin, display case,
        crypt, treasury, shed, barrier, dungeon"""
    ),
    "job": Pool.of(
        """doctor, teacher, baker, painter, sailor, lawyer, gardener, pilot, tailor, carpenter, farmer, chemist,
        singer, blacksmith, librarian, nurse, plumber, judge, dentist, butcher, engineer, fisherman,
        journalist, mason, musician, optician, photographer, referee, sculptor, translator, watchmaker,
        weaver, actor, banker, cook, detective"""
    ),
    "event": Pool.of(
        """wedding, auction, concert, trial, parade, festival, exhibition, conference, regatta, funeral, election,
        harvest, picnic, lecture, tournament, inspection, coronation, premiere, reunion, eclipse,
        ceremony, sale, race, audit"""
    ),
    "attribute": Pool.of(
        """weight, owner, number, title, origin, height, value, purpose, material, size, address, motto, symbol,
        flavour, shape, length, founder, sponsor, language, season, rank, label, pattern, guardian, rule,
        currency, capital, emblem, signal, melody"""
    ),
    "colour": Pool.of(
        """red, green, blue, white, black, silver, grey, yellow, crimson, purple, brown, scarlet, amber, ivory, orange,
        pink, violet, turquoise, golden, beige, maroon, indigo, olive, magenta, lilac"""
    ),
    "month": Pool.of(
        "January, February, March, April, May, June, July, August, September, October, November, December"
    ),
}

_BABI_NAMES = {"Mary", "John", "Daniel", "Sandra"}
"""People of bAbI, of whom a memory keeps something else than the statement."""
_TRAINED = {word for pool in _POOLS.values() for word in pool.train}

POOLS = {
    name: Pool(
        tuple(word for word in pool.train if word not in _BABI_NAMES),
        tuple(word for word in pool.validation if word not in _TRAINED | _BABI_NAMES),
    )
    for name, pool in _POOLS.items()
}
"""Word pools by slot. A validation word is in no pool's training part."""

_HELD_OUT = {word for phrase in POOLS.values() for word in " ".join(phrase.validation).split()}


@dataclass(frozen=True)
class Lexicon:
    """An open vocabulary for names of things: whatever lower-case words some texts hold, split by their letters.

    A memory that has only seen a few hundred words learns a code for those; one that must carry any word has to copy.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]

    @classmethod
    def of(cls, texts: Iterable[str], *, least: int = 8) -> "Lexicon":
        """The words of 4 to 10 letters that stand at least `least` times in the texts."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(_WORD.findall(text))
        words = {word for word, count in counts.items() if count >= least}
        held_out = {word for word in words if sum(map(ord, word)) % 5 == 0} - _TRAINED
        return cls(tuple(sorted(words - held_out - _HELD_OUT)), tuple(sorted(held_out)))

    def draw(self, rng: Random, split: Split) -> str | None:
        """One word of the split; None where there are none."""
        words = self.train if split == "train" else self.validation
        return rng.choice(words) if words else None


_WORD = re.compile(r"\b[a-z]{4,10}\b")
NO_LEXICON = Lexicon((), ())
