"""masklab: a laboratory for masking curricula of masked-diffusion language models."""

__version__ = "0.1.0"
