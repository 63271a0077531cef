"""All kinds of source: a new one is a file beside this one, and its name here, twice."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from masklab.text.sources.labelled_file import LabelledFile
from masklab.text.sources.nanogpt import NanoGPT
from masklab.text.sources.python_docs import PythonDocs
from masklab.text.sources.python_packages import PythonPackages
from masklab.text.sources.shakespeare_char import ShakespeareChar
from masklab.text.sources.text_file import TextFile

SourceName = Literal["python_docs", "text", "shakespeare_char", "nanogpt", "labelled", "python_packages"]
Source = Annotated[PythonDocs | TextFile | ShakespeareChar | NanoGPT | LabelledFile | PythonPackages, Field(discriminator="source")]

SOURCE: TypeAdapter[Source] = TypeAdapter(Source)
