"""What several stages share of the model: shape, features, towers, losses, metrics, baselines, bundle, retriever."""
