"""Telephone numbers in one form (E.164), by the `phonenumbers` library, whose home this is."""

from __future__ import annotations

import phonenumbers

from tandem.dialplan.world import DialplanError


def e164(number: str, region: str = "") -> str:
    """`+442079460123` for any way to write a number; "" for what is none. `region` is where a
    number without `+` or `00` would be dialled (`GB`)."""
    where = region.upper()
    if where and where not in phonenumbers.SUPPORTED_REGIONS:
        raise DialplanError(f"{region!r} is no region such as GB or US")
    text = "+" + number[2:] if not where and number.startswith("00") else number
    try:
        found = phonenumbers.parse(text, where or None)
    except phonenumbers.NumberParseException:
        return ""
    if not phonenumbers.is_possible_number(found):
        return ""
    return str(phonenumbers.format_number(found, phonenumbers.PhoneNumberFormat.E164))
