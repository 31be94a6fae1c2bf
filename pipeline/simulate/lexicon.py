"""The words the generated shop names its goods with: a category tree of 8 x 4 x 3 leaves, and what describes goods."""

from __future__ import annotations

TREE = {
    "home": {
        "lighting": ("lamp", "lantern", "chandelier"),
        "textiles": ("blanket", "curtain", "cushion"),
        "furniture": ("chair", "bookshelf", "stool"),
        "decor": ("vase", "mirror", "clock"),
    },
    "kitchen": {
        "cookware": ("saucepan", "skillet", "casserole"),
        "tableware": ("plate", "bowl", "mug"),
        "baking": ("whisk", "tin", "rolling pin"),
        "storage": ("jar", "basket", "canister"),
    },
    "garden": {
        "tools": ("spade", "rake", "pruner"),
        "plants": ("fern", "orchid", "cactus"),
        "outdoor": ("parasol", "hammock", "bench"),
        "watering": ("hose", "sprinkler", "watering can"),
    },
    "clothing": {
        "tops": ("shirt", "sweater", "jacket"),
        "bottoms": ("trousers", "skirt", "shorts"),
        "shoes": ("sneaker", "boot", "sandal"),
        "accessories": ("scarf", "belt", "hat"),
    },
    "electronics": {
        "audio": ("headphones", "speaker", "turntable"),
        "computing": ("keyboard", "monitor", "mouse"),
        "phones": ("charger", "phone case", "power bank"),
        "cameras": ("tripod", "lens", "camera bag"),
    },
    "toys": {
        "games": ("puzzle", "board game", "card game"),
        "building": ("blocks", "train set", "marble run"),
        "dolls": ("doll", "teddy bear", "puppet"),
        "crafts": ("paint set", "clay", "bead kit"),
    },
    "sports": {
        "fitness": ("dumbbell", "yoga mat", "kettlebell"),
        "cycling": ("helmet", "bike light", "pannier"),
        "camping": ("tent", "sleeping bag", "stove"),
        "water": ("goggles", "wetsuit", "paddle"),
    },
    "beauty": {
        "skin": ("cleanser", "moisturiser", "sunscreen"),
        "hair": ("shampoo", "hairbrush", "conditioner"),
        "fragrance": ("perfume", "candle", "diffuser"),
        "makeup": ("lipstick", "mascara", "eyeliner"),
    },
}
LEAVES: tuple[tuple[str, str], ...] = tuple(
    (f"{top}/{middle}/{noun.replace(' ', '_')}", noun)
    for top, middles in TREE.items()
    for middle, nouns in middles.items()
    for noun in nouns
)
"""Category path and noun of every leaf; three neighbours share their middle category, twelve their top one."""

COLOURS = ("red", "blue", "green", "black", "white", "yellow", "grey", "violet", "orange", "teal", "ivory", "copper")
MATERIALS = (
    "oak",
    "steel",
    "linen",
    "ceramic",
    "glass",
    "cotton",
    "bamboo",
    "leather",
    "wool",
    "marble",
    "cork",
    "brass",
)
ADJECTIVES = (
    "classic", "compact", "folding", "handmade", "heavy", "large", "light", "modern",
    "portable", "premium", "rustic", "simple", "slim", "small", "soft", "vintage",
)  # fmt: skip
_ONSETS, _VOWELS, _ENDS = (
    ("b", "d", "f", "k", "l", "m", "n", "r", "s", "t", "v", "z"),
    "aeiou",
    ("x", "ra", "lo", "nt", "ko", "ne", "sk", "va"),
)


def brand_name(number: int) -> str:
    """Returns a made-up name; numbers below 5,760 have different ones."""
    number, onset = divmod(number, len(_ONSETS))
    number, vowel = divmod(number, len(_VOWELS))
    number, end = divmod(number, len(_ENDS))
    number, second = divmod(number, len(_ONSETS))
    tail = str(number) if number else ""
    return (
        _ONSETS[onset] + _VOWELS[vowel] + _ONSETS[second] + _VOWELS[(vowel + second) % 5] + _ENDS[end]
    ).capitalize() + tail
