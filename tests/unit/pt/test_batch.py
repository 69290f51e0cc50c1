import threading

from meta1g.pt import batch


class Counter:
    def __init__(self):
        self.flushed = 0

    def flush(self):
        self.flushed += 1


def test_without_a_batch_output_leaves_at_once():
    counter = Counter()
    batch.later(counter)
    assert counter.flushed == 1


def test_in_a_batch_output_leaves_at_its_end():
    counter = Counter()
    with batch.batch():
        batch.later(counter)
        with batch.batch():
            batch.later(counter)
        assert counter.flushed == 0
    assert counter.flushed == 2


def test_flush_here_empties_the_batch_before_its_end():
    counter = Counter()
    with batch.batch():
        batch.later(counter)
        batch.flush_here()
        assert counter.flushed == 1
    assert counter.flushed == 1


def test_batches_of_other_threads_are_separate():
    counter = Counter()
    with batch.batch():
        thread = threading.Thread(target=batch.later, args=(counter,))
        thread.start()
        thread.join(10)
        assert counter.flushed == 1


def test_several_threads_may_empty_one_batch():
    counters = [Counter() for _ in range(10_000)]
    noted = list(counters)
    threads = [threading.Thread(target=batch.flush, args=(noted,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert {counter.flushed for counter in counters} == {1}
