"""The sections of the settings, one a stage and one for each thing several stages lean on.

A field marked `keyed=False` cannot change what a step makes, so it is left out of the step's input key.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from pipeline.core.errors import MissingSecretError
from pipeline.core.names import Zone
from pipeline.core.schema import MOST_EXPOSED

ENVIRONMENT_PREFIX = "PIPELINE_"
FREE = {"keyed": False}
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Store(Section):
    """Where everything lies."""

    root: Path = Field(
        Path("var"), description="Folder of artifacts, runs, bundles and ledger.", json_schema_extra=FREE
    )
    ledger_url: str = Field(
        "", description="SQLAlchemy URL of the ledger; empty is SQLite under root.", json_schema_extra=FREE
    )
    shared: str = Field(
        "",
        description="s3://BUCKET/PREFIX where machines share days, artifacts, champions; empty keeps all under root.",
        json_schema_extra=FREE,
    )
    lease_seconds: float = Field(
        60.0, gt=0, description="A holder silent so long loses its lease on a shared store.", json_schema_extra=FREE
    )
    retention_days: int = Field(
        0,
        ge=0,
        description="Partitions so many days before the newest landed day are collected; 0 keeps all.",
        json_schema_extra=FREE,
    )
    artifact_days: int = Field(
        0,
        ge=0,
        description="Artifacts no run of so many days before the newest landed day names are collected; 0 keeps all.",
        json_schema_extra=FREE,
    )
    bundle_days: int = Field(
        0,
        ge=0,
        description="Bundles that stood last so many days (no fewer than gate.anchor_days) before the newest landed "
        "day are collected, unless the ledger's last entries name them; 0 keeps all.",
        json_schema_extra=FREE,
    )


class Engine(Section):
    """What computes over events: embedded, or a cluster, with the same rows."""

    name: Literal["duckdb", "spark"] = Field(
        "duckdb", description="DuckDB in the step's process, or Apache Spark.", json_schema_extra=FREE
    )
    memory_mb: int = Field(1024, ge=128, description="Memory of DuckDB; tables lie on disk.", json_schema_extra=FREE)
    threads: int = Field(0, ge=0, description="Threads of DuckDB; 0 takes every core.", json_schema_extra=FREE)
    scratch: str = Field(
        "",
        description="Folder of its tables; empty is the system's. With a Spark cluster one that all machines share.",
        json_schema_extra=FREE,
    )
    spark_master: str = Field("local[*]", description="Where Spark runs its work.", json_schema_extra=FREE)
    spark_options: dict[str, str] = Field(
        {}, description="Further options of Spark, by their own names.", json_schema_extra=FREE
    )


class S3(Section):
    """The object store; credentials come from where the AWS SDK finds them."""

    endpoint_url: str = Field("", description="Endpoint; empty is AWS's own.", json_schema_extra=FREE)
    region: str = Field("", description="Region; empty is the SDK's.", json_schema_extra=FREE)
    path_style: bool = Field(
        False, description="Bucket in the path, as most servers of one's own want.", json_schema_extra=FREE
    )
    encryption: Literal["", "AES256", "aws:kms"] = Field(
        "", description="Encryption at rest asked for with every upload.", json_schema_extra=FREE
    )
    kms_key_id: str = Field("", description="Key of `aws:kms`; empty is the bucket's.", json_schema_extra=FREE)
    checksums: Literal["crc32", "md5"] = Field(
        "crc32",
        description="What guards an upload; `md5` where the server knows no newer.",
        json_schema_extra=FREE,
    )
    conditional_writes: bool = Field(
        True,
        description="The endpoint honours If-Match; else the ledger's database guards.",
        json_schema_extra=FREE,
    )
    part_mb: int = Field(16, ge=5, le=5000, description="Size of a part of a larger upload.", json_schema_extra=FREE)
    max_attempts: int = Field(8, ge=1, description="Tries of one request, with backoff.", json_schema_extra=FREE)
    connect_timeout_seconds: float = Field(5.0, gt=0, description="Wait for a connection.", json_schema_extra=FREE)
    read_timeout_seconds: float = Field(60.0, gt=0, description="Wait for an answer.", json_schema_extra=FREE)


class Shop(Section):
    """What holds for the shop as a whole."""

    timezone: Zone = Field("UTC", description="Zone whose midnights part one day's events from the next.")
    k: int = Field(20, ge=1, le=1000, description="How many items an answer holds; the k of every recall@k.")
    metric: Literal["all_items", "new_items"] = Field(
        "new_items", description="Whether recommending again what the user already had counts as finding."
    )


class Ingest(Section):
    """Raw logs to canonical events."""

    source: str = Field("", description="Folder or s3:// prefix of the raw logs.", json_schema_extra=FREE)
    profile: str = Field("generated", description="Name of a shipped source profile, or path of one's own.")
    duplicate_window_seconds: int = Field(1, ge=0, description="The same event again within so long is one event.")
    max_late_days: int = Field(
        30, ge=0, le=36_500, description="Rows older than so many days before their file's day are refused."
    )
    min_price: float = Field(0.0, ge=0, description="Least price of a piece.")
    max_price: float = Field(1_000_000.0, gt=0, description="Most a piece may cost.")
    max_quantity: int = Field(1_000_000, ge=1, description="Most pieces one row may move.")
    robot_events_per_minute: float = Field(60, gt=0, description="A session faster than this is a robot's.")
    robot_min_events: int = Field(50, ge=2, description="Sessions shorter than this are never called robots.")
    robot_min_gap_variation: float = Field(
        0.05, ge=0, description="A session whose gaps vary less (deviation over mean) is a robot's; 0 is off."
    )
    unknown_items: Literal["keep", "quarantine"] = Field(
        "keep", description="What becomes of events on items that the day's catalogue files do not name."
    )
    quarantine_warn_share: float = Field(0.01, ge=0, le=1, description="Share of refused rows that is worth a warning.")
    quarantine_fail_share: float = Field(0.2, ge=0, le=1, description="Share of refused rows that fails the day.")
    quarantine_min_rows: int = Field(20, ge=0, description="Fewer refused rows than this never fail a day.")
    rule_warn_share: dict[str, Share] = Field(
        {}, description="Share of rows one rule may take before a warning, by rule."
    )
    rule_fail_share: dict[str, Share] = Field({}, description="Share of rows one rule may take before the day fails.")
    max_routed_share: float = Field(
        0.8, ge=0, le=1, description="Share of rows of other days that fails a file of one day."
    )
    replay: str = Field(
        "",
        description="Only days that hold quarantined rows are read again: of this rule, or `all`.",
        json_schema_extra=FREE,
    )


class Validate(Section):
    """Rules for a day's events as a whole."""

    trailing_days: int = Field(28, ge=1, description="Days before the judged one that it is compared with.")
    min_trailing_days: int = Field(5, ge=1, description="With fewer trailing days the verdict says it is warming up.")
    min_rows: int = Field(50, ge=0, description="Fewer events than this fail an open day.")
    volume_low_ratio: float = Field(0.05, ge=0, description="Least volume, as a share of the expected.")
    volume_high_ratio: float = Field(10.0, gt=0, description="Most volume, as a multiple of the expected.")
    suite: str = Field("events", description="Name of a shipped suite of rules, or path of one's own YAML file.")
    catalogue_suite: str = Field("catalogue", description="The same for what the days say of items.")
    catalogue_days: int = Field(400, ge=1, description="Days back an item may have been described.")
    drift_min_rows: int = Field(500, ge=2, description="Columns with fewer values on a day are not asked for drift.")
    max_unknown_item_share: float = Field(0.2, ge=0, le=1, description="Most events on items the catalogue lacks.")
    max_age_hours: float = Field(
        48, gt=0, description="An older newest event, closed days taken off, is worth a warning."
    )


class Prepare(Section):
    """Published days to a training set."""

    window_days: int = Field(400, ge=3, description="Days of events, counted back from the run's last day.")
    max_test_days: int = Field(7, ge=1, description="Most of the newest days the test may take.")
    min_test_queries: int = Field(
        500, ge=1, description="The test takes as many days as hold so many queries on every night of a week."
    )
    validation_days: int = Field(7, ge=1, description="Days before the test that early stopping and recipe choice see.")
    query_events: int = Field(
        1000, ge=1, description="How many of the last events an evaluation query carries, so that all seen is excluded."
    )
    min_item_events: int = Field(1, ge=1, description="Items with fewer training events are not learnt from.")
    forget_item_days: int = Field(
        0, ge=0, le=36_500, description="Items unseen in the last so many days of training leave; 0: in all of it."
    )
    listed_days: int = Field(
        7,
        ge=0,
        le=36_500,
        description="Other items belong if the catalogue had them in the last so many days of training; 0: none.",
    )
    answer_minutes: int = Field(30, ge=1, description="A view, cart or purchase this soon after a search answers it.")
    max_evaluation_queries: int = Field(
        20_000, ge=1, description="Validation and test keep at most so many, drawn evenly."
    )


class Train(Section):
    """The two towers."""

    dim: int = Field(0, ge=0, le=512, description="Length of query and item vectors; 0 derives it from the log's size.")
    hidden_units: int = Field(0, ge=0, le=4096, description="Width of each tower's hidden layer; 0 takes twice `dim`.")
    history_length: int = Field(
        0, ge=0, le=512, description="How many of the last events the query tower reads; 0 derives it from the log."
    )
    text_buckets: int = Field(8192, ge=64, description="Hash buckets for words and character n-grams.")
    epochs: int = Field(5, ge=0, le=500, description="Passes over the training targets.")
    batch_size: int = Field(
        0, ge=0, description="Targets a step, all replicas together; 0 derives it from their number."
    )
    learning_rate: float = Field(2e-3, gt=0, description="Adam's peak rate.")
    clip_norm: float = Field(
        1.0,
        ge=0,
        description="Longer gradients, of all weights and replicas together, are brought down to it; 0: never.",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="What the towers compute in while learning; weights, scores and loss stay float32."
    )
    temperature: float = Field(0.07, gt=0, description="Scores are divided by this before the softmax.")
    uniform_negatives: int = Field(
        0, ge=0, description="Negatives drawn evenly from the catalogue, beside in-batch ones; 0 takes `batch_size`."
    )
    hard_negatives: int = Field(
        0, ge=0, le=256, description="Negatives drawn for each target from its category by popularity."
    )
    exposed_negatives: int = Field(
        0, ge=0, le=MOST_EXPOSED, description="Negatives of each target that were shown before it and never chosen."
    )
    dropout: float = Field(0.2, ge=0, lt=1, description="Share of features left out of each step.")
    blocks: int = Field(1, ge=0, le=8, description="Layers of causal self-attention over the history.")
    heads: int = Field(2, ge=1, le=16, description="Differently weighted sums attention makes; they divide train.dim.")
    id_dropout: float = Field(0.1, ge=0, lt=1, description="Share of ids hidden, so new items live by content.")
    new_item_days: int = Field(
        7, ge=0, le=36_500, description="Items nobody met that are listed for less are no negatives; 0: all are."
    )
    start_moments: int = Field(
        4, ge=0, description="Items met so many moments apart start near each other; 0 starts at random."
    )
    title_share: float = Field(0.1, ge=0, le=1, description="Share asked for by title: teaches the text query.")
    next_visit_share: float = Field(0.5, ge=0, le=1, description="Share of targets told from earlier visits alone.")
    half_life_share: float = Field(
        0, ge=0, description="A target older by this share of the training's time counts half; 0 chooses by validation."
    )
    view_weight: float = Field(1.0, ge=0, description="How much a viewed target counts.")
    cart_weight: float = Field(1.0, ge=0, description="How much one put into the cart counts.")
    purchase_weight: float = Field(1.0, ge=0, description="How much a bought one counts.")
    visit_pause_minutes: float = Field(30.0, gt=0, description="A longer pause between two events begins a new visit.")
    patience_epochs: int = Field(2, ge=1, description="Epochs without a better validation recall before stopping.")
    checkpoint_seconds: float = Field(30.0, ge=0, description="Least time between checkpoints.", json_schema_extra=FREE)
    figures_seconds: float = Field(
        10.0, ge=0, description="Least time between figures of steps told to MLflow.", json_schema_extra=FREE
    )
    tensorboard: bool = Field(
        False, description="Leaves curves for TensorBoard in the artifact.", json_schema_extra=FREE
    )
    profile_steps: int = Field(
        0,
        ge=0,
        description="Times so many steps before the training and leaves a profile; they change nothing.",
        json_schema_extra=FREE,
    )
    scratch_every_nights: int = Field(
        1, ge=1, description="Learns from scratch so often, else goes on from the champion's weights; 1: every night."
    )
    warm_epochs: int = Field(2, ge=1, le=500, description="Most passes of a training that goes on from the champion.")
    warm_learning_rate: float = Field(1e-3, gt=0, description="Adam's peak rate of such a training.")
    replicas: int = Field(0, ge=0, description="Logical CPU replicas; 0 takes every GPU, or one CPU.")
    deterministic: bool = Field(False, description="Op determinism on one thread: equal keys give equal weights.")
    seed: int = Field(17, description="Seed of weights, order and draws.")


class Optimize(Section):
    """Recipes, budgets, choice."""

    recipes: tuple[str, ...] = Field(
        ("float32", "dynamic_int8", "int6", "int4", "pq2", "pruned_qat_int8", "low_rank_pq2", "student_pq2"),
        min_length=1,
        description="Recipes tried; float32 always is.",
    )
    max_recall_loss: float = Field(
        0.01, ge=0, le=1, description="Most recall@k a recipe may lose, relative to float32."
    )
    max_p99_ms: float = Field(
        20.0, gt=0, description="Budget for tower and index together, p99 of one thread's CPU time."
    )
    max_bundle_mb: float = Field(2000.0, gt=0, description="Budget for the release bundle on disk.")
    max_memory_mb: float = Field(
        2000.0, gt=0, description="Budget for resident memory of a process that answers from the bundle."
    )
    latency_requests: int = Field(2000, ge=50, description="Timed calls of each recipe, interleaved.")
    sparsity: float = Field(0.5, ge=0, lt=1, description="Share of Dense weights magnitude pruning takes to zero.")
    neuron_sparsity: float = Field(
        0.5, ge=0, lt=1, description="Share of the hidden units of the query tower that structured pruning cuts out."
    )
    clusters: int = Field(16, ge=3, le=256, description="Values a Dense kernel may hold after clustering.")
    rank_share: float = Field(
        0.25, gt=0, le=1, description="Rank of a factorised Dense kernel, as a share of its full rank."
    )
    finetune_epochs: int = Field(1, ge=1, description="Epochs of fine-tuning for recipes that train.")
    max_minutes: float = Field(
        60.0,
        ge=0,
        description="A recipe not begun so long after the first is not tried; float32 always is.",
        json_schema_extra=FREE,
    )


class Register(Section):
    """MLflow."""

    tracking_uri: str = Field(
        "", description="MLflow tracking URI; empty is SQLite under store.root.", json_schema_extra=FREE
    )
    experiment: str = Field("retrain_two_tower", description="Experiment the runs belong to.")
    model_name: str = Field("two_tower", description="Name of the registered model.")


class Promote(Section):
    """Who says yes, and whom to tell."""

    approval: Literal["automatic", "by_hand", "in_airflow"] = Field(
        "automatic", description="`by_hand` waits for review_promotion, `in_airflow` asks in the night's own DAG run."
    )
    reviewers: tuple[str, ...] = Field(
        (), description="Users of Airflow who may answer its required action; empty lets every user answer."
    )
    approval_hours: float = Field(8.0, gt=0, description="A required action not answered by then is a refusal.")
    review_in_mlflow: bool = Field(
        False, description="Whether tags of a version in MLflow are a person's word, though nobody knows whose."
    )
    servers: tuple[str, ...] = Field((), description="Base URLs of servers that must confirm.", json_schema_extra=FREE)
    confirm_timeout_seconds: float = Field(
        30.0, gt=0, description="A server silent so long rolls the promotion back.", json_schema_extra=FREE
    )
    start_timeout_seconds: float = Field(
        60.0, gt=0, description="What no fresh server serves by then is not promoted.", json_schema_extra=FREE
    )


class Simulate(Section):
    """The generated shop."""

    events_per_day: int = Field(6000, ge=10, description="Mean clean events of an ordinary day.")
    users: int = Field(3000, ge=10, description="People with an account.")
    items: int = Field(2000, ge=10, description="Catalogue size.")
    dirt_share: float = Field(0.01, ge=0, le=0.5, description="Share of rows that are spoilt on purpose.")
    seed: int = Field(7, description="Seed of the whole shop.")


class Secrets(Section):
    """Never written anywhere."""

    pseudonym_key: SecretStr | None = Field(None, description="Key of the HMAC that turns person ids into pseudonyms.")
    previous_pseudonym_keys: tuple[SecretStr, ...] = Field(
        (), description="Keys in force before, so that people known under them can be forgotten; as JSON list."
    )

    def require(self, name: str) -> str:
        """Raises: MissingSecretError: that secret is not set."""
        value = getattr(self, name)
        if value is None or not value.get_secret_value():
            variable = f"{ENVIRONMENT_PREFIX}SECRETS__{name.upper()}"
            raise MissingSecretError(
                f"The secret {variable} is not set; put 32 random bytes in hex into the environment."
            )
        return value.get_secret_value()
