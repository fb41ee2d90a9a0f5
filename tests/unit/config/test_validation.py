from __future__ import annotations

import pytest
from pydantic import BaseModel, Field, ValidationError, model_validator

from config.validation import first_problem, problems


class _Inner(BaseModel, extra="forbid"):
    size: int = Field(1, ge=1)


class _Outer(BaseModel):
    parts: list[_Inner]

    @model_validator(mode="after")
    def _holds_some(self) -> _Outer:
        if not self.parts:
            raise ValueError("there are no parts")
        return self


def refused(text: str) -> ValidationError:
    with pytest.raises(ValidationError) as error:
        _Outer.model_validate_json(text)
    return error.value


def test_the_first_problem_names_the_field_and_not_the_value() -> None:
    said = first_problem(refused('{"parts": [{"size": 1}, {"size": -77}]}'))
    assert said == "parts.1.size: Input should be greater than or equal to 1"


def test_our_own_checks_speak_without_the_words_of_the_library() -> None:
    assert first_problem(refused('{"parts": []}')) == "there are no parts"
    assert first_problem(refused('{"parts": []}'), whole="body") == "body: there are no parts"


def test_all_problems_come_in_order_with_kind_and_value() -> None:
    found = list(problems(refused('{"parts": [{"size": "x", "colour": 3}]}')))
    assert [(each.where, each.kind, each.given) for each in found] == [
        ("parts.0.size", "int_parsing", "x"),
        ("parts.0.colour", "extra_forbidden", 3),
    ]
