"""The shop's goods on a day: slots of a catalogue whose items are replaced in time, priced anew, sometimes sold out.

Slot s belongs to cluster s mod K and has rank s div K there. Three neighbouring clusters share their middle category
and make a *persona*: what a visitor of that taste likes. Within a cluster popularity falls with rank, and each item has
one successor that visitors go on to. A two-tower model can learn all three; a list of best sellers can learn none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.sections import Simulate
from pipeline.simulate import lexicon
from pipeline.simulate.dice import choice, uniform

ITEMS_A_CLUSTER = 20
CLUSTERS_A_PERSONA = 3
LIFE_DAYS = (250, 500)
PRICE_EPOCH_DAYS = 14
PRICE_FACTORS = np.array([1.0, 1.0, 1.0, 0.9, 0.8, 1.05])
SOLD_OUT_SHARE = 0.03
WEEKDAY = (0.95, 0.9, 0.92, 0.95, 1.05, 1.18, 1.05)
"""Monday first; the mean is 1."""


@dataclass(frozen=True)
class Shop:
    """Everything about the shop that no visitor changes."""

    settings: Simulate

    @cached_property
    def clusters(self) -> int:
        wanted = max(self.settings.items // ITEMS_A_CLUSTER, CLUSTERS_A_PERSONA)
        return wanted - wanted % CLUSTERS_A_PERSONA

    @property
    def personas(self) -> int:
        return self.clusters // CLUSTERS_A_PERSONA

    @cached_property
    def slots(self) -> np.ndarray:
        return np.arange(self.settings.items)

    @cached_property
    def cluster(self) -> np.ndarray:
        """Returns int64 [items]: the cluster of every slot."""
        return self.slots % self.clusters

    @cached_property
    def cluster_sizes(self) -> np.ndarray:
        return np.bincount(self.cluster, minlength=self.clusters)

    @cached_property
    def leaf(self) -> np.ndarray:
        """Returns int64 [clusters]: the leaf of the category tree of every cluster."""
        return np.arange(self.clusters) % len(lexicon.LEAVES)

    @cached_property
    def brand(self) -> np.ndarray:
        """Returns int64 [items]: most of a cluster is of one brand."""
        seed, brands = self.settings.seed, max(8, min(5000, self.settings.items // 40))
        main = choice(brands, seed, "brand", np.arange(self.clusters))[self.cluster]
        return np.where(uniform(seed, "loyal", self.slots) < 0.7, main, choice(brands, seed, "other", self.slots))

    @cached_property
    def successor(self) -> np.ndarray:
        """Returns int64 [items]: the slot in the same cluster that visitors of a slot go on to."""
        rank, size = self.slots // self.clusters, self.cluster_sizes[self.cluster]
        step = 1 + choice(5, self.settings.seed, "next", self.slots)
        return self.cluster + self.clusters * ((rank + step) % size)

    def persona_shares(self, day: date) -> np.ndarray:
        """Returns float64 [personas], summing to 1: a tail, and each top category's season."""
        order = np.argsort(uniform(self.settings.seed, "order", np.arange(self.personas)))
        weight = (1.0 + order) ** -0.7
        top = self.leaf[::CLUSTERS_A_PERSONA] // 12
        season = 1 + 0.5 * np.cos(2 * math.pi * (day.timetuple().tm_yday / 365.25 - top / len(lexicon.TREE)))
        return weight * season / (weight * season).sum()

    def user_personas(self, users: np.ndarray) -> np.ndarray:
        """Returns int64 [n, 2]: a user's first and second taste, in proportion to how common tastes are."""
        order = np.argsort(uniform(self.settings.seed, "order", np.arange(self.personas)))
        edges = np.cumsum((1.0 + order) ** -0.7)
        drawn = [uniform(self.settings.seed, name, users) * edges[-1] for name in ("taste 1", "taste 2")]
        return np.stack([np.searchsorted(edges, d, side="right") for d in drawn], axis=1)

    def volume(self, day: date) -> float:
        """Returns how busy the day is; 1 is ordinary."""
        return WEEKDAY[day.weekday()] * (1 + 0.2 * math.cos(2 * math.pi * (day.timetuple().tm_yday - 345) / 365.25))

    def shelf(self, day: date) -> Shelf:
        return Shelf(self, day)


@dataclass(frozen=True)
class Shelf:
    """The goods of one day."""

    shop: Shop
    day: date

    @cached_property
    def generation(self) -> np.ndarray:
        """Returns int64 [items]: how many items the slot has held; each lives LIFE_DAYS, so new ones appear daily."""
        seed, slots = self.shop.settings.seed, self.shop.slots
        life = LIFE_DAYS[0] + choice(LIFE_DAYS[1] - LIFE_DAYS[0], seed, "life", slots)
        return (self.day.toordinal() + choice(LIFE_DAYS[1], seed, "born", slots)) // life

    @cached_property
    def ids(self) -> pa.StringArray:
        number = self.generation * self.shop.settings.items + self.shop.slots
        return pc.binary_join_element_wise("sku", pa.array(number).cast(pa.string()), "")

    @cached_property
    def prices(self) -> np.ndarray:
        """Returns float64 [items] in whole cents; a price holds two weeks."""
        seed, slots, generation = self.shop.settings.seed, self.shop.slots, self.generation
        usual = np.exp(
            1.5 + 2.5 * uniform(seed, "level", self.shop.cluster) + 0.6 * uniform(seed, "price", slots, generation)
        )
        epoch = (self.day.toordinal() + choice(PRICE_EPOCH_DAYS, seed, "phase", slots)) // PRICE_EPOCH_DAYS
        factor = PRICE_FACTORS[choice(len(PRICE_FACTORS), seed, "factor", slots, generation, epoch)]
        return np.round(usual * factor, 2)

    @cached_property
    def in_stock(self) -> np.ndarray:
        return uniform(self.shop.settings.seed, "stock", self.shop.slots, self.day.toordinal() // 3) >= SOLD_OUT_SHARE

    def words(self, kind: str) -> pa.StringArray:
        """Returns one word an item: `colour`, `material`, `adjective` or `noun`."""
        if kind == "noun":
            return pa.array([noun for _, noun in lexicon.LEAVES]).take(pa.array(self.shop.leaf[self.shop.cluster]))
        lists = {"colour": lexicon.COLOURS, "material": lexicon.MATERIALS, "adjective": lexicon.ADJECTIVES}
        words = lists[kind]
        picked = choice(len(words), self.shop.settings.seed, kind, self.shop.slots, self.generation)
        return pa.array(words).take(pa.array(picked))

    @cached_property
    def brands(self) -> pa.StringArray:
        names = pa.array([lexicon.brand_name(n) for n in range(int(self.shop.brand.max()) + 1)])
        return names.take(pa.array(self.shop.brand))

    @cached_property
    def titles(self) -> pa.StringArray:
        parts = [self.words("adjective"), self.words("colour"), self.words("material"), self.words("noun"), self.brands]
        return pc.binary_join_element_wise(*parts, " ")

    @cached_property
    def queries(self) -> tuple[pa.StringArray, ...]:
        """Returns what people who look for each item may type."""
        colour, material, noun = self.words("colour"), self.words("material"), self.words("noun")
        return (
            noun,
            pc.binary_join_element_wise(colour, noun, " "),
            pc.binary_join_element_wise(material, noun, " "),
            pc.binary_join_element_wise(pc.utf8_lower(self.brands), noun, " "),
        )

    def catalogue(self) -> pa.Table:
        """Returns the day's catalogue in the shop's own columns."""
        paths = pa.array([path for path, _ in lexicon.LEAVES]).take(pa.array(self.shop.leaf[self.shop.cluster]))
        stock = pc.if_else(pa.array(self.in_stock), "true", "false")
        columns = [self.ids, paths, self.brands, self.titles, pa.array(self.prices), stock]
        return pa.table(columns, names=["item", "category", "brand", "title", "price", "in_stock"])
