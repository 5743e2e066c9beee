/* memory.h - what gloo's own headers include and Debian's libgloo-dev does not bring: references to
 * an object whose owner may end it. What those headers need of it, laid out as the library has it,
 * and meaning the same, since a program's copy of a template takes the place of a library's. */
#ifndef TUTTI_WORKER_GLOO_DEBIAN_MEMORY_H
#define TUTTI_WORKER_GLOO_DEBIAN_MEMORY_H

#include <memory>
#include <thread>

namespace gloo
{

template <typename T> class WeakNonOwningPtr;

/* While there is one that holds it, the object is not ended. */
template <typename T> class NonOwningPtr final
{
  public:
    NonOwningPtr() = default;
    explicit NonOwningPtr(const WeakNonOwningPtr<T> &object) : held_(object.seen_.lock())
    {
    }
    explicit operator bool() const noexcept
    {
        return held_ != nullptr;
    }

  private:
    std::shared_ptr<T> held_;
};

/* The object's own. */
template <typename T> class ShareableNonOwningPtr final
{
  public:
    explicit ShareableNonOwningPtr(T *object) : own_(object, [](T *) {})
    {
    }
    ShareableNonOwningPtr(const ShareableNonOwningPtr &) = delete;
    ShareableNonOwningPtr &operator=(const ShareableNonOwningPtr &) = delete;

    /* Waits until nobody holds it. */
    ~ShareableNonOwningPtr()
    {
        std::weak_ptr<T> others = own_;

        own_.reset();
        while (!others.expired())
            std::this_thread::yield();
    }

  private:
    friend class WeakNonOwningPtr<T>;
    std::shared_ptr<T> own_;
};

template <typename T> class WeakNonOwningPtr final
{
  public:
    WeakNonOwningPtr() = default;
    explicit WeakNonOwningPtr(const ShareableNonOwningPtr<T> &object) : seen_(object.own_)
    {
    }

  private:
    friend class NonOwningPtr<T>;
    std::weak_ptr<T> seen_;
};

} // namespace gloo

#endif
