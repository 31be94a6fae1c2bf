"""What a model must beat, built from training alone: simple answers a shop could give without one."""

from pipeline.model.baselines.interactions import Interactions
from pipeline.model.baselines.item_knn import ItemKnn
from pipeline.model.baselines.popular import OwnItems, Popularity, RecentlyPopular
from pipeline.model.baselines.ranking import Baseline
from pipeline.model.baselines.session_knn import SessionKnn

BASELINES: dict[str, type[Baseline]] = {
    "popularity": Popularity,
    "recently_popular": RecentlyPopular,
    "own_items": OwnItems,
    "item_knn": ItemKnn,
    "session_knn": SessionKnn,
}

__all__ = [
    "BASELINES",
    "Baseline",
    "Interactions",
    "ItemKnn",
    "OwnItems",
    "Popularity",
    "RecentlyPopular",
    "SessionKnn",
]
