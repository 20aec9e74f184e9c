"""How the pairs of images were made on which `vlad-tiny` adapters of `metauas` are trained."""
