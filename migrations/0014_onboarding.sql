-- Who must complete Discord's onboarding before they get level roles, also after a restart.

alter table verification
    -- When the bot first saw the onboarding that it waits for; null while the guild has none, or the settings do not
    -- want it to be waited for. Members who joined before are not held back.
    add column onboarding_since timestamptz check (isfinite(onboarding_since));
