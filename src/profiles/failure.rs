//! Classifies a failed avatar copy: is the image at fault, or the CDN or the avatar channel as a
//! whole? Only a failure of the image counts as one of the user's attempts.
//!
//! Pure: `avatar_mirror` decides what follows from it.

use crate::discord::cdn::NoImage;
use crate::discord::channels::avatar_channel::ChannelError;

/// What a failure says something about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureCause {
    /// This image only.
    Image,
    /// The CDN, for every image.
    Host,
    /// The CDN; but the image, if it failed before and others were fetched since.
    HostUnlessOthersWork,
    /// The avatar channel, for every image.
    Channel,
    /// The avatar channel; but the image, if it failed before and others were posted since.
    ChannelUnlessOthersWork,
    /// None of these: the database failed, or Discord refused the token.
    Neither,
    /// The image; but the CDN, if several different images fail like this with no success between
    /// them.
    ImageUnlessSeveralFail,
    /// The CDN, if several images fail like this with no success between them. The image, if it
    /// failed before and others were fetched since. Otherwise unknown.
    HostIfSeveralFail,
}

/// Classifies a failed download from the CDN.
pub(super) fn of_fetch(error: &NoImage) -> FailureCause {
    match error {
        NoImage::NotThere | NoImage::TooLarge | NoImage::Status(415) => FailureCause::Image,
        NoImage::Status(429) => FailureCause::Host,
        NoImage::Unreachable(_) | NoImage::Status(500..) => FailureCause::HostUnlessOthersWork,
        // A proxy on the way may answer every request with a page of its own.
        NoImage::NotAnImage => FailureCause::ImageUnlessSeveralFail,
        // For example, Cloudflare answers 403 to an IP address that it blocks.
        NoImage::Status(_) => FailureCause::HostIfSeveralFail,
    }
}

/// Classifies a failed post to the avatar channel.
pub(super) fn of_post(error: &ChannelError) -> FailureCause {
    match error {
        ChannelError::Refused(_) => FailureCause::Image,
        ChannelError::Closed(_) => FailureCause::Channel,
        ChannelError::Away(_) => FailureCause::ChannelUnlessOthersWork,
        ChannelError::Passing(_) => FailureCause::Neither,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discord::RestError;
    use crate::discord::rest::error_codes::INVALID_BODY;

    #[test]
    fn what_a_failed_fetch_is_about() {
        for (error, about) in [
            (NoImage::NotThere, FailureCause::Image),
            (NoImage::TooLarge, FailureCause::Image),
            (NoImage::Status(415), FailureCause::Image),
            (NoImage::NotAnImage, FailureCause::ImageUnlessSeveralFail),
            (NoImage::Status(302), FailureCause::HostIfSeveralFail),
            (NoImage::Status(400), FailureCause::HostIfSeveralFail),
            (NoImage::Status(403), FailureCause::HostIfSeveralFail),
            (NoImage::Status(429), FailureCause::Host),
            (NoImage::Status(500), FailureCause::HostUnlessOthersWork),
            (NoImage::Status(503), FailureCause::HostUnlessOthersWork),
            (
                NoImage::Unreachable("cannot be reached"),
                FailureCause::HostUnlessOthersWork,
            ),
            (
                NoImage::Unreachable("did not answer in time"),
                FailureCause::HostUnlessOthersWork,
            ),
            (
                NoImage::Unreachable("broke off"),
                FailureCause::HostUnlessOthersWork,
            ),
        ] {
            assert_eq!(of_fetch(&error), about, "{error}");
        }
    }

    #[test]
    fn what_a_failed_post_is_about() {
        let unreachable = || RestError::Unreachable("no answer in time".to_owned());
        let refused = RestError::Refused {
            what: "posting an avatar",
            status: 400,
            code: INVALID_BODY,
            message: "Invalid Form Body".to_owned(),
        };
        for (error, about) in [
            (ChannelError::Refused(refused), FailureCause::Image),
            (
                ChannelError::Closed("Missing Permissions".to_owned()),
                FailureCause::Channel,
            ),
            (
                ChannelError::Away(unreachable()),
                FailureCause::ChannelUnlessOthersWork,
            ),
            (
                ChannelError::Passing(RestError::Revoked.into()),
                FailureCause::Neither,
            ),
        ] {
            assert_eq!(of_post(&error), about, "{error}");
        }
    }
}
