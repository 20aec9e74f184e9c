"""From images and heads to scores: features, texts, the panel, the pipeline, export."""
