"""How often a node looks for work."""

from clients.node.pace import AWAKE_S, BUSY_S, IDLE_S, Pace


def test_often_for_a_minute_after_work_and_seldom_then() -> None:
    now, waited = [0.0], []
    pace = Pace(clock=lambda: now[0], wait=waited.append)
    pace.sleep()
    pace.worked()
    pace.sleep()
    now[0] = AWAKE_S - 0.01
    pace.sleep(3.0)
    now[0] = AWAKE_S
    pace.sleep(3.0)
    pace.sleep(0.2)
    pace.worked()
    pace.sleep()
    assert waited == [IDLE_S, BUSY_S, BUSY_S, IDLE_S, 0.2, BUSY_S]
