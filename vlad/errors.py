"""The exceptions of vlad, as one tree.

VladError                 one clear sentence: what, where, what to do; a command exits with 2
├── InputError            a path, folder, manifest or image list that cannot be used
│   └── ImageError        one image that cannot be used; in a batch it becomes a row
├── BackboneError         an unknown backbone, or weights that cannot be found or do not fit
├── HeadError             an unknown head, or a head that cannot work with what it was given
├── AdapterError          an adapter or checkpoint that is missing, broken or does not fit
├── PromptError           an unknown or malformed prompt bank, or an unknown category
├── VlmError            a vision-language model that cannot be loaded, reached or asked
├── GraphError            a runtime that is missing, or a graph that differs from torch
├── HubError              a repository of the model hub that cannot be read, written or used
├── TrainingError         a recipe that cannot be used, or a training that cannot continue
└── OutputError           a place that cannot be written to
"""


class VladError(Exception):
    """Root of every error that vlad raises on purpose; its text is one sentence for the user."""


class InputError(VladError):
    """A path, folder, manifest or list of images that cannot be used."""


class ImageError(InputError):
    """One image that cannot be decoded or is outside the limits."""


class BackboneError(VladError):
    """An unknown backbone, or weights that cannot be found or do not fit."""


class HeadError(VladError):
    """An unknown head, or a head that cannot work with what it was given."""


class AdapterError(VladError):
    """An adapter or an authors' checkpoint that is missing, broken or does not fit."""


class PromptError(VladError):
    """An unknown or malformed prompt bank, or an unknown category."""


class VlmError(VladError):
    """A vision-language model that cannot be loaded, reached or asked."""


class GraphError(VladError):
    """A runtime that is missing, or a graph that cannot be made or deviates from torch."""


class HubError(VladError):
    """A repository of the model hub that cannot be read, written or used."""


class TrainingError(VladError):
    """A recipe that cannot be used, or a training that cannot start, resume or continue."""


class OutputError(VladError):
    """A place that cannot be written to."""
