"""What every object of the API is made of."""

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class ApiObject(BaseModel):
    """camelCase on the wire; unknown fields are ignored (an older operator, a newer CRD); frozen."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
    )
