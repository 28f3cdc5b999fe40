"""Whether a blind watch is told from a slow one."""

from neuron_operator.cache.pod_watch import WatchStalenessDetector


def test_an_event_that_comes_between_two_listings_is_not_missed() -> None:
    freshness: WatchStalenessDetector[str] = WatchStalenessDetector()
    freshness.observe_event("a", "1")
    assert freshness.missed_keys({"a": "2"}) == []  # the event may be on its way
    freshness.observe_event("a", "2")
    assert freshness.missed_keys({"a": "3"}) == []


def test_an_object_of_which_no_event_tells_is_missed_at_the_second_listing() -> None:
    freshness: WatchStalenessDetector[str] = WatchStalenessDetector()
    assert freshness.missed_keys({"a": "1"}) == []
    assert freshness.missed_keys({"a": "1"}) == ["a"]


def test_an_object_that_changes_all_the_time_without_events_is_missed() -> None:
    freshness: WatchStalenessDetector[str] = WatchStalenessDetector()
    freshness.observe_event("a", "1")
    assert freshness.missed_keys({"a": "2"}) == []
    assert freshness.missed_keys({"a": "3"}) == ["a"]


def test_an_object_that_does_not_change_needs_no_events() -> None:
    freshness: WatchStalenessDetector[str] = WatchStalenessDetector()
    freshness.observe_event("a", "1")
    assert [freshness.missed_keys({"a": "1"}) for _ in range(3)] == [[], [], []]


def test_a_deleted_object_is_forgotten() -> None:
    freshness: WatchStalenessDetector[str] = WatchStalenessDetector()
    freshness.observe_event("a", "1")
    assert freshness.missed_keys({}) == []
    assert freshness._versions == {}


def test_the_age_is_that_of_the_last_event_or_of_the_last_listing_without_news() -> None:
    now = [100.0]
    freshness: WatchStalenessDetector[str] = WatchStalenessDetector(lambda: now[0])
    now[0] += 5
    assert freshness.age() == 5
    freshness.observe_event("a", "1")
    now[0] += 7
    freshness.missed_keys({"a": "2"})
    assert freshness.age() == 7  # the listing was ahead: nothing is shown
    freshness.observe_event("a", "2")
    now[0] += 3
    freshness.missed_keys({"a": "2"})
    assert freshness.age() == 0
