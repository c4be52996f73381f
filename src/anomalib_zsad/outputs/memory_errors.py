"""Which errors say that memory is full, whoever raises them; torch's and engines' are known without importing them."""

# What torch's allocator, onnxruntime and OpenVINO write, which have no type of error for it on the CPU.
_SIGNS = ("DefaultCPUAllocator", "std::bad_alloc", "Failed to allocate", "Cannot allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there was not enough memory.

    torch's allocator and OpenVINO say so by a plain `RuntimeError`, onnxruntime by errors of its own.
    """
    if isinstance(error, MemoryError):
        return True
    if not isinstance(error, RuntimeError) and "onnxruntime" not in type(error).__module__:
        return False
    return type(error).__name__ == "OutOfMemoryError" or any(sign in str(error) for sign in _SIGNS)
