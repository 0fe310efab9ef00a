import torch

from rl.process import keep_freed_memory, prepare_process


def test_process_is_prepared():
    threads = torch.get_num_threads()
    prepare_process(1)
    assert torch.get_num_threads() == 1
    assert isinstance(keep_freed_memory(), bool)
    torch.set_num_threads(threads)
