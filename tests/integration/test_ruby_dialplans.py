"""Ruby dialplans of the original's users, saved over the API and run for calls on the real
program."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.test_dialplans import office as office
from tests.support.office import PASSWORD, Office, busy, picking_up
from tests.support.ruby import require_ruby
from tests.support.sipp import SippPhone
from tests.support.switch import Switch

pytestmark = pytest.mark.asyncio(loop_scope="module")

SOURCE = """#Ruby
sys.Log("call from #{req.Header.From.FromURI.User} to #{req.URI.User}")
begin
  case req.URI.User
  when /^232$/ then sys.Dial("999142xxx@tropo[fu=uniqueidxxx]")
  when /^1/    then sys.Dial("rubydesk@local", 20)
  end
  sys.LastDialled.each { |tried| sys.Log "#{tried.TransactionFinalResponse.StatusCode}" }
  sys.Respond(sys.LastFailureStatus, "Nobody there")
rescue
  sys.Log("** Error: " + $!.to_s)
end
"""


async def save(office: Office, name: str, source: str) -> Any:
    body = {"name": name, "language": "ruby", "source": source}
    return await office.switch.api.client.post("/api/v1/dialplans", json=body)


async def caller(office: Office, name: str, source: str) -> SippPhone:
    """An account whose calls run this."""
    (await save(office, name, source)).raise_for_status()
    await office.switch.api.add_account(name, PASSWORD, out_dialplan=name)
    return SippPhone(office.folder, name, PASSWORD, office.switch.address("udp"))


async def test_the_famous_line_calls_the_voice_application(switch: Switch, office: Office) -> None:
    require_ruby()
    tropo = await office.gateway("tropo", picking_up)
    phone = await caller(office, "rubycaller", SOURCE)
    mark = await switch.api.mark()
    await phone.run("call", callee="232")
    assert (await switch.api.record_after(mark))["status"] == 200
    (call,) = tropo.calls
    assert call.invite.request_uri.user == "999142xxx"
    assert call.invite.from_.uri.user == "uniqueidxxx"
    log = await switch.api.event_after(mark, "dialplan.log")
    assert log["message"] == "call from rubycaller to 232"


async def test_a_busy_phone_is_told_as_the_script_says(switch: Switch, office: Office) -> None:
    require_ruby()
    desk = await office.phone("rubydesk", busy)
    phone = await caller(office, "rubybusy", SOURCE)
    mark = await switch.api.mark()
    await phone.run("call-refused", callee="100", status=486)
    assert (await switch.api.record_after(mark))["status"] == 486
    assert len(desk.calls) == 1


async def test_a_loop_ends_with_500_and_an_event(switch: Switch, office: Office) -> None:
    require_ruby()
    phone = await caller(office, "rubyloop", 'sys.Log "x"\nloop { }\n')
    mark = await switch.api.mark()
    await phone.run("call-refused", callee="100", status=500)
    failed = (await switch.api.event_after(mark, "dialplan.failed"))["data"]
    assert (failed["line"], failed["limit"]) == (1, "time")


async def test_a_wrong_one_is_refused_when_it_is_saved(office: Office) -> None:
    require_ruby()
    answer = await save(office, "rubywrong", "x = 1\nsys.Dail(x)\n")
    assert answer.status_code == 422
    assert "line 2, column 5: sys has no Dail" in answer.text
