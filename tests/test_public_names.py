"""The names that users import; one that goes or is renamed breaks their programs."""

import importlib

import pytest

NAMES = {
    "vlad": """Calibration Detector FeatureSpec Features ImageScores ScoredImage Scores TextFeatures
        Verdicts VladError __version__ load load_bank load_backbone""",
    "vlad.errors": """AdapterError BackboneError HeadError HubError ImageError InputError
        OutputError PromptError TrainingError VladError""",
    "vlad.images": """DEFAULT_MAX_PIXELS ImageLike as_image is_image check_reading read_image
        read_mask resize_mask to_pixels""",
    "vlad.metrics": """Difference FrameMetrics Interval Pimo SegF1 Streamed Streaming aupimo aupro
        auroc average_precision bootstrap concordance delong evaluate evaluate_batches f1_max
        frame_metrics holm interval kendall_tau mean_difference rbdc_tbdc registered_metrics
        resampled seg_f1""",
    "vlad.datasets": "DATASETS list_samples load_dataset",
    "vlad.heads": "HEADS Head Pool head_names load_head protocol",
    "vlad.calibration": """FALSE_ALARMS FUSED Calibration from_labels from_normals from_unlabelled
        load_calibration save_calibration""",
    "vlad.types": """NATIVE Activation BackboneInfo Box Capability Crops FeatureSpec Features
        FeatureShift ImageContext ImagePrompts Interpolation KnownKind Layer NearestPatch
        NearestSentence NearestState Parts PatchOutput PosEmbedResize Reason Residual Resize
        Sample Scores Seen Stream TextFeatures TextSpec Verdicts""",
}


@pytest.mark.parametrize("module", NAMES)
def test_public_names(module):
    found = importlib.import_module(module)
    wanted = set(NAMES[module].split())
    assert not {name for name in wanted if not hasattr(found, name)}
    if hasattr(found, "__all__"):
        assert set(found.__all__) == wanted
